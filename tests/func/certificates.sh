# SPDX-License-Identifier: Apache-2.0
#
# Sourced: certificates for a test, in this directory, by certtool.

# cert_authority NAME: NAME.pem and NAME.key.
cert_authority()
{
	certtool --generate-privkey --ecc --outfile "$1.key" 2>/dev/null
	printf 'cn = %s\nca\ncert_signing_key\ncrl_signing_key\nexpiration_days = 9\n' "$1" \
		>template
	certtool --generate-self-signed --load-privkey "$1.key" \
		--template template --outfile "$1.pem" 2>/dev/null
}

# cert_make AUTHORITY FILE LINE...: FILE.pem and FILE.key; lines of certtool's
# template say whose it is.
cert_make()
{
	local authority=$1 file=$2

	shift 2
	[ -f "$file.key" ] ||
		certtool --generate-privkey --ecc --outfile "$file.key" \
			2>/dev/null
	printf '%s\n' "$@" >template
	certtool --generate-certificate --load-privkey "$file.key" \
		--load-ca-certificate "$authority.pem" \
		--load-ca-privkey "$authority.key" --template template \
		--outfile "$file.pem.new" 2>/dev/null
	mv "$file.pem.new" "$file.pem"
}

# cert_client AUTHORITY FILE NAME...: by names of hosts.
cert_client()
{
	local lines=(tls_www_client signing_key "expiration_days = 9") name

	for name in "${@:3}"; do
		lines+=("dns_name = $name")
	done
	cert_make "$1" "$2" "${lines[@]}" "cn = nobody"
}

# cert_revoke AUTHORITY FILE CERTIFICATE...: FILE lists these.
cert_revoke()
{
	local authority=$1 file=$2

	shift 2
	printf 'expiration_days = 9\ncrl_number = 1\n' >template
	cat "$@" /dev/null >revoked
	certtool --generate-crl --load-ca-privkey "$authority.key" \
		--load-ca-certificate "$authority.pem" --template template \
		${1:+--load-certificate revoked} --outfile "$file.new" \
		2>/dev/null
	mv "$file.new" "$file"
}

# cert_server AUTHORITY FILE
cert_server()
{
	cert_make "$1" "$2" tls_www_server signing_key "expiration_days = 9" \
		"cn = penstockd" "dns_name = localhost" \
		"ip_address = 127.0.0.1"
}
