#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# NBD over TLS as other people's programs use it (E15): libnbd's tools and
# qemu-img, by certificates and shared keys; who is refused; certificates that
# change while it serves; a penstockd that dies; and that no key is told.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/func/certificates.sh"

for tool in nbdinfo nbdcopy qemu-img certtool psktool; do
	command -v $tool >/dev/null || skip "$tool is not installed"
done

# Directories as libnbd and QEMU want them: of who is asked, and who asks.
mkdir mine others old nobody server
cert_authority ca
cert_authority stranger
cert_server ca server
cert_client ca mine/client-cert one.example
cert_client stranger others/client-cert one.example
cert_make ca old/client-cert tls_www_client signing_key \
	'activation_date = "2001-01-01"' 'expiration_date = "2002-01-01"'
cert_make ca server/client-cert tls_www_server signing_key "expiration_days = 9"
for who in mine others old nobody server; do
	cp ca.pem $who/ca-cert.pem
	[ $who = nobody ] || mv $who/client-cert.key $who/client-key.pem
done
psktool -u alice -p keys.psk >/dev/null
psktool -u alice -p wrong.psk >/dev/null
mkdir psk
cp keys.psk psk/keys.psk

penstock_config "
endpoints:
  - {name: ep0, devices: [{name: m0, kind: memory, size: 256MiB}]}
pools: [{name: mem, devices: [ep0/m0]}]
vdevs:
  - name: vd0
    endpoint: ep0
    pool: mem
    size: 64MiB
    nbd: {listen: 'tcp:127.0.0.1:10830', tls: {cert: $TEST_DIR/server.pem, key: $TEST_DIR/server.key, ca: $TEST_DIR/ca.pem, crl: $TEST_DIR/crl.pem}}
  - name: vd1
    endpoint: ep0
    pool: mem
    size: 64MiB
    nbd: {listen: 'unix:$TEST_DIR/vd1.nbd', tls: {psk: $TEST_DIR/keys.psk}}
  - name: vd2
    endpoint: ep0
    pool: mem
    size: 64MiB
    nbd: {listen: 'unix:$TEST_DIR/vd2.nbd', tls: {psk: $TEST_DIR/keys.psk}, require: false}
"
cert_revoke ca crl.pem
refused()
{
	! nbdinfo "$1" >/dev/null 2>&1
}

believed()
{
	! refused "$1"
}

penstockd_start
X509="nbds://localhost:10830/vd0?tls-certificates=$TEST_DIR/mine"
OTHERS="nbds://localhost:10830/vd0?tls-certificates=$TEST_DIR/others"
PSK="nbds+unix://alice@/vd1?socket=$TEST_DIR/vd1.nbd&tls-psk-file=$TEST_DIR/keys.psk"
WRONG="nbds+unix://alice@/vd1?socket=$TEST_DIR/vd1.nbd&tls-psk-file=$TEST_DIR/wrong.psk"

note "libnbd's tools"
for uri in "$X509" "$PSK"; do
	nbdinfo "$uri" >info || fail "nbdinfo $uri"
	grep -q "with TLS" info || fail "no TLS: $(cat info)"
	grep -q "export-size: 67108864 " info || fail "the size is not told"
done
head -c 64M /dev/urandom >random
nbdcopy random "$X509" || fail "nbdcopy to vd0"
nbdcopy "$X509" "$PSK" || fail "nbdcopy from vd0 to vd1"
nbdcopy "$PSK" back || fail "nbdcopy back"
cmp random back || fail "what was copied differs"

note "qemu-img"
X509_QEMU=(--object "tls-creds-x509,id=t,endpoint=client,dir=$TEST_DIR/mine"
	--image-opts "driver=nbd,host=localhost,port=10830,export=vd0,tls-creds=t")
PSK_QEMU=(--object "tls-creds-psk,id=t,endpoint=client,dir=$TEST_DIR/psk,username=alice"
	--image-opts "driver=nbd,path=$TEST_DIR/vd1.nbd,export=vd1,tls-creds=t")
for which in X509_QEMU PSK_QEMU; do
	declare -n options=$which
	qemu-io "${options[@]}" -c "write -P 0x5a 1M 1M" \
		-c "write -z 3M 64k" -c flush -c "read -P 0x5a 1M 1M" \
		-c "read -P 0 3M 64k" >io || fail "qemu-io, $which: $(cat io)"
	! grep -qi "failed" io || fail "qemu-io, $which: $(cat io)"
	qemu-io -f raw random -c "write -P 0x5a 1M 1M" -c "write -z 3M 64k" \
		>io || fail "qemu-io here"
	qemu-img info "${options[@]}" >info || fail "qemu-img info, $which"
	rm -f back
	qemu-img convert "${options[@]}" -O raw back ||
		fail "qemu-img convert, $which"
	cmp random back || fail "what qemu-img read differs, $which"
done

note "in the clear: refused, or not"
! nbdinfo nbd://localhost:10830/vd0 2>/dev/null || fail "vd0 without TLS"
nbdinfo "nbd+unix:///vd2?socket=$TEST_DIR/vd2.nbd" >info ||
	fail "vd2 without TLS"
nbdinfo "nbds+unix://alice@/vd2?socket=$TEST_DIR/vd2.nbd&tls-psk-file=$TEST_DIR/keys.psk" |
	grep -q "with TLS" || fail "vd2 with TLS"

note "who is refused"
said()
{
	grep -c "nbd: TLS: .*$1" penstockd.log || [ $? = 1 ]
}

# says_more THAN WHY
says_more()
{
	[ "$(said "$2")" -gt "$1" ]
}

# is_refused URI WHY: and it is said.
is_refused()
{
	local before

	before=$(said "$2")
	refused "$1" || fail "let in: $1"
	wait_for 10 says_more "$before" "$2" ||
		fail "nobody is told of '$2': $(tail -3 penstockd.log)"
}

# One of another authority is not even shown: the server says which it believes.
is_refused "$OTHERS" "shows no certificate"
is_refused "${X509%/mine}/old" "has expired"
is_refused "${X509%/mine}/nobody" "shows no certificate"
is_refused "${X509%/mine}/server" "is for another purpose"
refused "$WRONG" || fail "another key, and let in"
refused "${PSK/alice/mallory}" || fail "a name without a key, and let in"
refused "${PSK%&*}" || fail "no key at all, and let in"

note "a certificate that is revoked while it serves"
cert_revoke ca crl.pem mine/client-cert.pem
wait_for 20 refused "$X509" || fail "revoked, and let in"
cert_revoke ca crl.pem
wait_for 20 believed "$X509" || fail "not revoked, and refused"

note "a file that is no good: said, and the one before holds"
mv server.pem good.pem
echo nonsense >server.pem
wait_for 20 grep -q "vd0: nbd: tls: .*server.pem" penstockd.log ||
	fail "it is not said: $(tail -3 penstockd.log)"
nbdinfo "$X509" >info || fail "it went with its file"
mv good.pem server.pem
cp crl.pem good.pem
{ printf 'caf\351\n'; cat good.pem; } >latin.pem
mv latin.pem crl.pem
wait_for 20 grep -q "crl.pem: is no text in UTF-8" penstockd.log ||
	fail "a list is dropped without a word: $(tail -3 penstockd.log)"
nbdinfo "$X509" >info || fail "it went with its list"
mv good.pem crl.pem

note "the next penstockd finds it as it is"
kill -9 "$PENSTOCKD_PID"
expect 137 wait "$PENSTOCKD_PID"
penstockd_start
nbdinfo "$X509" >info || fail "vd0 after penstockd's death"
nbdinfo "$PSK" >info || fail "vd1 after penstockd's death"
! nbdinfo nbd://localhost:10830/vd0 2>/dev/null || fail "vd0 without TLS"

note "no key is told"
secret=$(cut -d: -f2 keys.psk)
! grep -rqF -e "$secret" -e "PRIVATE KEY" penstockd.log state ||
	fail "a key is in the log or the state"
for what in "vdev list" "vdev show vd1" status; do
	# shellcheck disable=SC2086 # words
	p $what --json >said
	! grep -qF -e "$secret" -e "PRIVATE KEY" said || fail "$what tells a key"
done
p vdev show vd1 | grep -q '^nbd TLS *required' || fail "vd1 does not say its TLS"
penstockd_stop
