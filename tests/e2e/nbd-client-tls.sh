#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Devices that are exports of another program's server over TLS (E15), by
# certificates and by a shared key: what is written is there; the server comes
# back with another authority's certificate, and the client's files change with
# it; no key is told.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/func/certificates.sh"

for tool in nbdkit nbdcopy certtool psktool; do
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
	{ kill -9 "$SERVER" && wait "$SERVER"; } 2>/dev/null || true
}

authority one
psktool -u bob -p keys.psk >/dev/null
truncate -s 64M x.img y.img
serve
nbdkit -f -U "$TEST_DIR/y.nbd" --tls=require --tls-psk="$TEST_DIR/keys.psk" \
	file y.img 2>>server.log &
wait_for 10 test -S y.nbd
penstock_config "
endpoints:
  - name: ep0
    devices:
      - {name: x, kind: nbd, uri: 'nbds://localhost:$PORT/', unflushed: kept, tls: {cert: $TEST_DIR/client.pem, key: $TEST_DIR/client.key, ca: $TEST_DIR/ca.pem}}
      - {name: y, kind: nbd, uri: 'nbds+unix:///?socket=$TEST_DIR/y.nbd', unflushed: kept, tls: {psk: $TEST_DIR/keys.psk, user: bob}}
pools: [{name: x, devices: [ep0/x]}, {name: y, devices: [ep0/y]}]
vdevs:
  - {name: vd0, endpoint: ep0, pool: x, size: 16MiB, nbd: unix:$TEST_DIR/vd0.nbd}
  - {name: vd1, endpoint: ep0, pool: y, size: 16MiB, nbd: unix:$TEST_DIR/vd1.nbd}
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

note "by certificates, and by a shared key"
copies vd0.nbd
copies vd1.nbd

note "another authority, on both sides, while it serves"
unserve
authority two
serve
copies vd0.nbd

note "no key is told"
secret=$(cut -d: -f2 keys.psk)
! grep -rqF -e "$secret" -e "PRIVATE KEY" penstockd.log state ||
	fail "a key is in the log or the state"
penstockd_stop
