#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# penstockd's API over TLS, from outside, and what its audit says of it: roles
# by certificate, never by having one; certificates that are expired, revoked, of
# a stranger, for servers, or none; certificates and roles that change while it runs; and a
# command line that says what is wrong.  (Contract: api: tcp, roles.)
# penstockd-tls.sh PENSTOCKD PENSTOCK
set -eu
PENSTOCKD=$(realpath "$1")
PENSTOCK=$(realpath "$2")
. "$(dirname "$(realpath "$0")")/command.sh"
. "$(dirname "$(realpath "$0")")/certificates.sh"
for tool in certtool jq curl openssl; do
	command -v $tool >/dev/null || { echo "$tool is not installed"; exit 77; }
done
DIR=$(mktemp -d /tmp/penstock-tls-XXXXXX)
PID=""
trap '[ -z "$PID" ] || kill "$PID" 2>/dev/null; wait; rm -rf "$DIR"' EXIT
cd "$DIR"

# until COMMAND...: it is true within 20 s.
until_true()
{
	local left=400

	until "$@" >/dev/null 2>&1; do
		left=$((left - 1))
		[ $left -gt 0 ] || { cat log; fail "never: $*"; }
		read -rt 0.05 <>/dev/zero || true
	done
}

# A port that is free: another may take it, then the next is tried.
start()
{
	local tries=0

	while :; do
		PORT=$((20000 + RANDOM % 20000))
		sed "s/@PORT@/$PORT/" template.yaml >c.yaml
		# Before it is waited for: the last one's says ready.
		: >log
		"$PENSTOCKD" --config c.yaml 2>log &
		PID=$!
		until_true grep -q 'ready$\|cannot listen' log
		grep -q 'cannot listen' log || return 0
		! wait $PID || fail "it cannot listen and ends as if it had"
		tries=$((tries + 1))
		[ $tries -lt 10 ] || fail "no port is free"
	done
}

# as NAME STATUS ARGUMENT...: over TLS, with that certificate.
as()
{
	command_run "$2" "$PENSTOCK" --api "https://127.0.0.1:$PORT" \
		--cacert ca.pem --cert "$1.pem" --key "$1.key" "${@:3}"
}

# audited EXPRESSION: a line of the audit is such.
audited()
{
	jq -es "any(.[]; $1)" state/audit.log >/dev/null ||
		{ cat state/audit.log; fail "not audited: $1"; }
}

logged()
{
	grep -qF -- "$1" log || { cat log; fail "the log does not say '$1'"; }
}

# read_again TIMES
read_again()
{
	until_true eval "[ \$(grep -cF 'are read again' log) = $1 ]"
}

cert_authority ca
cert_authority other
cert_server ca server
cert_client ca admin ops.example
cert_client ca reader unknown.example mon.example
cert_client ca nobody nobody.example
cert_client other stranger ops.example
cert_make ca expired tls_www_client signing_key "dns_name = ops.example" \
	'activation_date = "2020-01-01 00:00:00 UTC"' \
	'expiration_date = "2021-01-01 00:00:00 UTC"'
cert_make ca server-only tls_www_server signing_key "expiration_days = 9" \
	"dns_name = ops.example"
cert_make ca common tls_www_client signing_key "expiration_days = 9" \
	"cn = plain-name"
cert_make ca shadow tls_www_client signing_key "expiration_days = 9" \
	"cn = plain-name" "dns_name = shadow.example"
cert_client ca lost ops.example
cert_revoke ca crl.pem lost.pem
cat >template.yaml <<-EOF
	host: a
	state: $DIR/state
	api:
	  unix: $DIR/api.sock
	  tcp: 127.0.0.1:@PORT@
	  tls: {cert: $DIR/server.pem, key: $DIR/server.key, ca: $DIR/ca.pem, crl: $DIR/crl.pem}
	  roles:
	    administer: ["cert:ops.example", cert:plain-name]
	    read: ["cert:mon.example"]
	endpoints:
	  - {name: ep0, devices: [{name: n0, kind: nullio, size: 1GiB}]}
	pools: [{name: p0, devices: [ep0/n0]}]
	vdevs: [{name: v0, pool: p0, size: 64MiB}]
EOF
start
# What the file says for the first time.
audited '.stage == "changed" and (.by | test("^c.yaml:[0-9]+$")) and
	.text == "role administer of cert:ops.example: true"'
audited '.stage == "changed" and (.text | test("^vdev v0: .*\"size_bytes\":67108864"))'

# --- Who may what ------------------------------------------------------------
as admin 0 status
as admin 0 process add 5 --vdev v0 --limit 'iops 100' --name five
audited '.stage == "asked" and .who.certificate == "ops.example" and
	.who.role == "administer" and (.who.address | startswith("127.0.0.1:")) and
	.method == "POST" and .path == "/v1/processes" and
	.body.pasid == 5 and .body.limit == "iops 100"'
audited '.stage == "answered" and .id == 1 and .status == 200'
as reader 0 process list
as reader 1 process release 5
grep -q 'needs the role operate, and you have read' err || fail "403's reason"
audited '.stage == "refused" and .status == 403 and
	.who.certificate == "mon.example" and .method == "DELETE"'
# A name that nobody was given gives nothing.
as nobody 1 status
grep -q 'you have no role here' err || fail "no role"
# The common name counts only where there is no other.
as common 0 status
as shadow 1 status
as admin 3 vdev resize v0 900GiB
audited '.stage == "answered" and .status >= 400 and (.error | length) > 0'
# Over the Unix socket it is the user.
command_run 0 "$PENSTOCK" --api "$DIR/api.sock" process release 5
audited ".stage == \"asked\" and .who.uid == $(id -u) and .who.pid > 0 and
	.path == \"/v1/processes/5\""

# One that ends while its connection lasts: 401, and a new one is needed.
cert_make ca brief tls_www_client signing_key "dns_name = ops.example" \
	"expiration_date = \"$(date -u -d '+3 seconds' '+%F %T') UTC\""
mkfifo asks
openssl s_client -quiet -connect "127.0.0.1:$PORT" -CAfile ca.pem \
	-cert brief.pem -key brief.key <asks >answers 2>/dev/null &
exec 7>asks
ask='GET /v1/pools HTTP/1.1\r\nHost: x\r\n\r\n'
printf "$ask" >&7
until_true grep -q '^HTTP/1.1 200' answers
until_true eval '! openssl x509 -in brief.pem -noout -checkend -1'
until_true eval 'printf "$ask" >&7; grep -q "^HTTP/1.1 401" answers'
exec 7>&-
audited '.stage == "refused" and .status == 401 and
	.who.certificate == "ops.example"'

# --- Who gets no further than the handshake ----------------------------------
as stranger 1 status
grep -q 'refuses the certificate' err || fail "a stranger's message"
logged "its certificate ('ops.example') is not of the authority in api: tls: ca:"
audited '.stage == "refused" and (.who | has("certificate") | not) and
	(.error | test("not of the authority"))'
as expired 1 status
logged "its certificate ('ops.example') has expired"
as lost 1 status
logged "its certificate ('ops.example') is revoked"
as server-only 1 status
logged "its certificate ('ops.example') is for another purpose"
command_run 1 "$PENSTOCK" --api "https://127.0.0.1:$PORT" --cacert ca.pem status
grep -q 'show one with --cert and --key' err || fail "without a certificate"
logged "it shows no certificate"
# Older than TLS 1.2, and plain HTTP: no.
! openssl s_client -connect "127.0.0.1:$PORT" -CAfile ca.pem -cert admin.pem \
	-key admin.key -tls1_1 -cipher DEFAULT:@SECLEVEL=0 </dev/null >s.out 2>&1 ||
	fail "TLS 1.1 was let in"
! curl -s -m 10 "http://127.0.0.1:$PORT/v1/status" >curl.out ||
	fail "plain HTTP was answered"
# 1.2 is enough.
curl -s -m 10 --tls-max 1.2 --cacert ca.pem --cert admin.pem --key admin.key \
	"https://127.0.0.1:$PORT/v1/status" | jq -e .host >/dev/null ||
	fail "TLS 1.2"

# --- Whom the command line believes ------------------------------------------
command_run 1 "$PENSTOCK" --api "https://127.0.0.1:$PORT" --cacert other.pem \
	--cert admin.pem --key admin.key status
grep -q 'is not believed' err || fail "a stranger's server"
command_run 1 "$PENSTOCK" --api "https://127.0.0.1:$PORT" --cacert ca.pem \
	--cert nowhere.pem --key admin.key status
grep -q 'look at --cert, --key and --cacert' err || fail "a certificate that is not there"
export PENSTOCK_API="https://localhost:$PORT" PENSTOCK_CERT=admin.pem
export PENSTOCK_KEY=admin.key PENSTOCK_CACERT=ca.pem
command_run 0 "$PENSTOCK" status --json
command_run 0 "$PENSTOCK" process add 6 --vdev v0
# A large answer, and a long one.
command_run 0 "$PENSTOCK" events --after 0 --count 1

# --- Certificates that change ------------------------------------------------
"$PENSTOCK" events --after 0 >follower.out 2>&1 &
FOLLOWER=$!
until_true test -s follower.out
serial=$(openssl x509 -in server.pem -noout -serial)
cert_server ca server
kill -HUP $PID
read_again 1
openssl s_client -connect "127.0.0.1:$PORT" -CAfile ca.pem -cert admin.pem \
	-key admin.key </dev/null 2>/dev/null | openssl x509 -noout -serial >now
[ "$(cat now)" != "$serial" ] || fail "the old certificate is still shown"
# Who came under the old ones has to come again.
wait $FOLLOWER && fail "a follower outlived its certificates"
# Files that are not in order change nothing, and are said once.
cp server.pem good.pem
echo nonsense >server.pem
kill -HUP $PID
until_true grep -qF "api: tls: $DIR/server.pem and" log
command_run 0 "$PENSTOCK" status
mv good.pem server.pem
kill -HUP $PID
read_again 2
# Another authority: whom the old one believed is a stranger.
cp ca.pem ours.pem
export PENSTOCK_CACERT=ours.pem
cp other.pem ca.pem
cert_revoke other crl.pem
kill -HUP $PID
read_again 3
command_run 1 "$PENSTOCK" status
cp ours.pem ca.pem
cert_revoke ca crl.pem lost.pem
kill -HUP $PID
read_again 4
command_run 0 "$PENSTOCK" status

# One more is revoked, while it is connected.
"$PENSTOCK" --cert reader.pem --key reader.key events --after 0 >follower.out 2>&1 &
FOLLOWER=$!
until_true test -s follower.out
cert_revoke ca crl.pem lost.pem reader.pem
kill -HUP $PID
read_again 5
wait $FOLLOWER && fail "a follower outlived its certificate"
as reader 1 status
logged "its certificate ('mon.example') is revoked"
as admin 0 status
# A list of somebody else's says nothing of ours: it is none.
cert_revoke other crl.pem
kill -HUP $PID
until_true grep -qF "$DIR/crl.pem: list 1 in it is not signed by an authority in $DIR/ca.pem" log
as reader 1 status
cert_revoke ca crl.pem
kill -HUP $PID
read_again 6
as reader 0 status

# --- Roles that change -------------------------------------------------------
"$PENSTOCK" --cert reader.pem --key reader.key events --after 0 >follower.out 2>&1 &
FOLLOWER=$!
until_true test -s follower.out
roles_read()
{
	until_true eval "[ \$(grep -cF 'the roles are read again' log) = $1 ]"
}
cp c.yaml before.yaml
sed -i 's/read: .*/read: ["cert:nobody.example"]/; s/, cert:plain-name//' c.yaml
kill -HUP $PID
roles_read 1
wait $FOLLOWER && fail "a follower outlived its role"
as reader 1 status
grep -q 'you have no role here' err || fail "a role that was taken"
as nobody 0 status
as common 1 status
audited '.stage == "changed" and .text == "role read of cert:nobody.example: true"'
audited '.text == "role read of cert:mon.example is not there any more"'
# What is wrong changes nothing, and is said.
echo 'nonsense: true' >>c.yaml
kill -HUP $PID
until_true grep -q "^penstockd: c.yaml:[0-9]*: .*nonsense" log
as nobody 0 status
# Nothing new: nobody has to come again.
cp before.yaml c.yaml
kill -HUP $PID
roles_read 2
"$PENSTOCK" events --after 0 >follower.out 2>&1 &
FOLLOWER=$!
until_true test -s follower.out
mv state/audit.log state/moved
kill -HUP $PID
until_true test -f state/audit.log
roles_read 2
kill -0 $FOLLOWER || fail "a follower had to come again for nothing"
kill $FOLLOWER
status=0
wait $FOLLOWER || status=$?
[ $status = 143 ] || fail "the follower: $status instead of SIGTERM's 143"
# Users of the Unix socket, if others can be made of us.
if [ "$(id -u)" = 0 ] && chmod 755 "$DIR" && command -v setpriv >/dev/null; then
	user()
	{
		command_run "$1" setpriv --reuid 4001 --regid 4001 --clear-groups \
			"$PENSTOCK" --api "$DIR/api.sock" "${@:2}"
	}
	user 0 status
	user 1 process add 7 --vdev v0
	setpriv --reuid 4001 --regid 4001 --clear-groups \
		"$PENSTOCK" --api "$DIR/api.sock" events --after 0 >follower.out 2>&1 &
	FOLLOWER=$!
	until_true test -s follower.out
	sed 's/  roles:/  roles:\n    operate: ["4001"]/' before.yaml >c.yaml
	kill -HUP $PID
	roles_read 3
	user 0 process add 7 --vdev v0
	# Who reads is said: nobody else does.
	sed 's/read: .*/read: ["4002"]/' before.yaml >c.yaml
	kill -HUP $PID
	roles_read 4
	wait $FOLLOWER && fail "a user follows without a role"
	user 1 status
	grep -q 'you have no role here' err || fail "a user's role that was taken"
	cp before.yaml c.yaml
	kill -HUP $PID
	roles_read 5
fi

# --- The audit's file --------------------------------------------------------
mv state/audit.log state/moved
kill -HUP $PID
until_true test -f state/audit.log
command_run 0 "$PENSTOCK" --api "$DIR/api.sock" enforce off
audited '.path == "/v1/enforce" and .body.on == false'
[ "$(stat -c %a state/audit.log)" = 640 ] || fail "who reads the audit"

# --- Its end -----------------------------------------------------------------
kill $PID
wait $PID || fail "penstockd ended with $?"
PID=""

# --- What the file changes ---------------------------------------------------
rm state/audit.log
start
# The port is another one; nothing else is.
[ "$(jq -c 'select(.stage == "changed")' state/audit.log | grep -vc '"api: ')" = 0 ] ||
	fail "what did not change is said"
kill $PID
wait $PID || fail "penstockd ended with $?"
PID=""
sed -i 's/    read: .*//; s/size: 64MiB/size: 65MiB/' template.yaml
rm state/audit.log
start
audited '.text == "role read of cert:mon.example is not there any more"'
audited '(.text | startswith("vdev v0: ")) and
	(.text | contains("\"size_bytes\":68157440")) and (.text | contains(" instead of "))'
kill $PID
wait $PID || fail "penstockd ended with $?"
PID=""

# A wrong file is a wrong configuration, said before anything begins.
echo nonsense >server.key
command_run 2 "$PENSTOCKD" --config c.yaml --check
grep -q "^c.yaml:[0-9]*: api: tls: $DIR/server.pem and" err || fail "a key that is none"
rm server.key
command_run 2 "$PENSTOCKD" --config c.yaml --check
grep -q "^c.yaml:[0-9]*: api: tls: $DIR/server.key: No such file" err ||
	fail "a key that is missing"
echo "TLS: everything is as it should be"
