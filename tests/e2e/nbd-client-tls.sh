#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Devices that are exports of another program's server over TLS (E15), by
# certificates and by a shared key: what is written is there; the server comes
# back with another authority's certificate, and the client's files change with
# it; no key is told.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/func/certificates.sh"

for tool in nbdkit qemu-nbd nbdcopy certtool psktool; do
	command -v $tool >/dev/null || skip "$tool is not installed"
done
PORT=10831
mkdir server
# authority NAME: both sides are of it.
authority()
{
	rm -f server/server-cert.key
	cert_authority "$1"
	cert_server "$1" server/server-cert
	cert_client "$1" client one.example
	cp server/server-cert.key server/server-key.pem
	cp "$1.pem" server/ca-cert.pem
	cp "$1.pem" ca.pem
	cert_revoke "$1" crl.pem
}

SERVER=""
serve()
{
	nbdkit -f -i 127.0.0.1 -p $PORT --tls=require --tls-verify-peer \
		--tls-certificates="$TEST_DIR/server" file x.img 2>>server.log &
	SERVER=$!
}

unserve()
{
	kill -9 "$SERVER"
	expect 137 wait "$SERVER"
}

authority one
psktool -u bob -p keys.psk >/dev/null
mkdir psk
cp keys.psk psk/keys.psk
truncate -s 64M x.img y.img z.img w.img
serve
nbdkit -f -U "$TEST_DIR/y.nbd" --tls=require --tls-psk="$TEST_DIR/keys.psk" \
	file y.img 2>>server.log &
qemu-nbd -t -f raw -k "$TEST_DIR/z.nbd" -e 8 --tls-creds t \
	--object "tls-creds-x509,id=t,endpoint=server,verify-peer=yes,dir=$TEST_DIR/server" \
	z.img 2>>server.log &
qemu-nbd -t -f raw -k "$TEST_DIR/w.nbd" -e 8 --tls-creds t \
	--object "tls-creds-psk,id=t,endpoint=server,dir=$TEST_DIR/psk" \
	w.img 2>>server.log &
for name in y z w; do
	wait_for 10 test -S $name.nbd
done
penstock_config "
endpoints:
  - name: ep0
    devices:
      - {name: x, kind: nbd, uri: 'nbds://localhost:$PORT/', unflushed: kept, tls: {cert: $TEST_DIR/client.pem, key: $TEST_DIR/client.key, ca: $TEST_DIR/ca.pem, crl: $TEST_DIR/crl.pem}}
      - {name: y, kind: nbd, uri: 'nbds+unix:///?socket=$TEST_DIR/y.nbd', unflushed: kept, tls: {psk: $TEST_DIR/keys.psk, user: bob}}
      - {name: z, kind: nbd, uri: 'nbds+unix:///?socket=$TEST_DIR/z.nbd', unflushed: kept, tls: {cert: $TEST_DIR/client.pem, key: $TEST_DIR/client.key, ca: $TEST_DIR/ca.pem}}
      - {name: w, kind: nbd, uri: 'nbds+unix:///?socket=$TEST_DIR/w.nbd', unflushed: kept, tls: {psk: $TEST_DIR/keys.psk, user: bob}}
pools: [{name: x, devices: [ep0/x]}, {name: y, devices: [ep0/y]}, {name: z, devices: [ep0/z]}, {name: w, devices: [ep0/w]}]
vdevs:
  - {name: vd0, endpoint: ep0, pool: x, size: 16MiB, nbd: unix:$TEST_DIR/vd0.nbd}
  - {name: vd1, endpoint: ep0, pool: y, size: 16MiB, nbd: unix:$TEST_DIR/vd1.nbd}
  - {name: vd2, endpoint: ep0, pool: z, size: 16MiB, nbd: unix:$TEST_DIR/vd2.nbd}
  - {name: vd3, endpoint: ep0, pool: w, size: 16MiB, nbd: unix:$TEST_DIR/vd3.nbd}
"
penstockd_start

# copies SOCKET: what is written through it is there.
copies()
{
	local uri="nbd+unix:///?socket=$TEST_DIR/$1"

	head -c 16M /dev/urandom >random
	nbdcopy random "$uri" || fail "nbdcopy to $1"
	nbdcopy "$uri" back || fail "nbdcopy from $1"
	cmp random back || fail "what was copied differs"
}

note "by certificates, and by a shared key; nbdkit and qemu-nbd"
for vdev in vd0 vd1 vd2 vd3; do
	copies $vdev.nbd
done

note "another authority, on both sides, while it serves"
unserve
authority two
serve
copies vd0.nbd


# is_refused WHY: the server that comes now is not believed, and that is said.
is_refused()
{
	unserve
	serve
	wait_for 20 grep -q "x: .*TLS: its certificate $1" penstockd.log ||
		fail "'$1' is not said: $(tail -3 penstockd.log)"
}

note "a server that is expired, revoked, another's: none is believed"
cp server/server-cert.pem good.pem
cert_make two server/server-cert tls_www_server signing_key \
	'dns_name = localhost' 'activation_date = "2001-01-01"' \
	'expiration_date = "2002-01-01"'
is_refused "has expired"
cert_make two server/server-cert tls_www_server signing_key \
	"expiration_days = 9" 'dns_name = elsewhere.example'
is_refused "is somebody else's"
cp good.pem server/server-cert.pem
cert_revoke two crl.pem good.pem
is_refused "is revoked"
cert_revoke two crl.pem
cert_authority three
cp three.pem ca.pem
cert_revoke three crl.pem
is_refused "is not of the authority"
cp two.pem ca.pem
cert_revoke two crl.pem
copies vd0.nbd

note "no key is told"
secret=$(cut -d: -f2 keys.psk)
! grep -rqF -e "$secret" -e "PRIVATE KEY" penstockd.log state ||
	fail "a key is in the log or the state"
penstockd_stop
