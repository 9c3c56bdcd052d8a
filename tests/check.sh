#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Format, layout and static analysis; called by ./run check after the build.
# usage: check.sh [--quick|--fix]     without the static analysis; or only bring
#                                     the format in order
set -eu
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PURE_ROOMS="base sched sla"
# A room may include what stands before it (src/meson.build's order), and
# pure rooms only pure ones.
ROOMS="base sched sla os block pool ctl vdev vhost nbd store endpoint host api cli"
# These do I/O, read clocks, or start threads.
IMPURE='(unistd|time|pthread|fcntl|poll|signal|threads|liburing|sys/[a-z_/]*|netinet/[a-z]*)\.h'
README_LINES=15

FAILURES=0
WORK=$(mktemp -d "${TMPDIR:-/tmp}/penstock-check.XXXXXX")
trap 'rm -rf "$WORK"' EXIT

problem()
{
	printf '%s\n' "$*"
	FAILURES=$((FAILURES + 1))
}

# finds GREP-ARGUMENT...: grep, for which to find nothing is no failure.
finds()
{
	grep "$@" || [ $? = 1 ]
}

sources()
{
	git ls-files 2>/dev/null '*.c' '*.h' || find src tests bench -name '*.[ch]'
}

# What clang-format 14 can't say is left out: comments at the end of a line
# (after a tab), and the tab behind a macro's name.
plain()
{
	sed -E -e 's/^(#define[ \t]+[A-Za-z0-9_]+(\([^)]*\))?)\t+/\1 /' \
		-e 's,([^ \t])[ \t]+/\*.*\*/$,\1,' \
		-e 's,([^ \t])[ \t]+(/\*.*)$,\1 \2,' "$1"
}

check_format()
{
	local file

	echo "== format"
	sources | while IFS= read -r file; do
		mkdir -p "$WORK/$(dirname "$file")"
		plain "$file" >"$WORK/$file"
		# Texts are not broken: they would not be found again.
		expand "$file" | finds -nE '^.{81}' | finds -v '"' |
			sed "s,^\([0-9]*\):.*,$file:\1: longer than 80 columns,"
	done >"$WORK/long"
	cp .clang-format "$WORK/"
	(cd "$WORK" && find . -name '*.[ch]' | sort |
		xargs clang-format --dry-run -Werror 2>&1 |
		finds -E 'error:' | sed 's,^\./,,') >"$WORK/format"
	cat "$WORK/long"
	cut -d: -f1 "$WORK/format" | sort | uniq -c |
		while read -r count file; do
			echo "$file: $count places unlike clang-format's," \
				"first: $(grep -m1 "^$file:" "$WORK/format")"
		done
	FAILURES=$((FAILURES + $(cat "$WORK/long" "$WORK/format" | wc -l)))
}

# room FILE: the room that a path is in.
room()
{
	local path=${1#src/}

	printf '%s\n' "${path%%/*}"
}

# What --fix does about it: trailing comments stand in as short ones.
fix_format()
{
	local file

	cp .clang-format "$WORK/"
	sources | while IFS= read -r file; do
		awk -v keep="$WORK/comments" '
		BEGIN { printf "" >keep }
		match($0, /[^ \t][ \t]+\/\*.*\*\/$/) &&
		$0 !~ /^[ \t]*\/?\*/ {
			print substr($0, RSTART + 1) >keep
			printf "%s /*@%d*/\n", substr($0, 1, RSTART), ++n
			next
		}
		{ print }' "$file" | sed -E ':a
			s,^(#define[ \t]+[A-Za-z0-9_]+(\([^)]*\))?(/\*=\*/)*)\t,\1/*=*/,
			ta' >"$WORK/now.${file##*.}"
		clang-format -i "$WORK/now.${file##*.}"
		awk -v keep="$WORK/comments" '
		BEGIN { while ((getline line <keep) > 0) kept[++n] = line }
		match($0, /[ \t]*\/\*@[0-9]+\*\//) {
			mark = substr($0, RSTART, RLENGTH)
			gsub(/[^0-9]/, "", mark)
			tail = substr($0, RSTART + RLENGTH)
			$0 = substr($0, 1, RSTART - 1) kept[mark] tail
		}
		{
			gsub(/[ \t]*\/\*=\*\/[ \t]?/, "\t")
			print
		}' \
			"$WORK/now.${file##*.}" >"$WORK/new"
		cmp -s "$WORK/new" "$file" || {
			echo "formatted $file"
			cat "$WORK/new" >"$file"
		}
	done
}

check_layout()
{
	local dir file included name lines before

	echo "== layout"
	for name in $PURE_ROOMS; do
		finds -nE "#include <$IMPURE>" src/"$name"/*.[ch] |
			sed 's/$/: not in a pure room/' >"$WORK/pure"
		while IFS= read -r file; do
			problem "$file"
		done <"$WORK/pure"
	done
	# A program's main.c puts rooms together, whichever they are.
	for file in $(ls src/*/*.[ch] | grep -v '/main\.c$'); do
		before=" ${ROOMS%% "$(room "$file")"*} $(room "$file") "
		[ "$(room "$file")" != base ] || before=" base "
		for included in $(sed -n 's/^#include "\(.*\)\/.*"/\1/p' "$file")
		do
			case $before in
			*" $included "*) ;;
			*) problem "$file: includes from $included, a room above" ;;
			esac
		done
		[ "$(wc -l <"$file")" -le 660 ] ||
			problem "$file: $(wc -l <"$file") lines"
	done
	for file in src/*/*.c; do
		[ -f "${file%.c}.h" ] || continue
		name=${file#src/}
		[ "$(sed -n 's/^#include "\(.*\)"/\1/p' "$file" | head -1)" = \
			"${name%.c}.h" ] ||
			problem "$file: does not include its own header first"
	done
	for file in src/*/*.h; do
		${CC:-cc} -std=gnu11 -D_GNU_SOURCE -Isrc -fsyntax-only \
			-x c "$file" 2>"$WORK/alone" ||
			problem "$file: does not stand alone: $(grep -m1 error \
				"$WORK/alone")"
	done
	tsort_includes
	for dir in src/*/ tests/*/ bench/ docs/ examples/; do
		lines=$(wc -l 2>/dev/null <"$dir/README.md" || echo 0)
		[ "$lines" -gt 0 ] || problem "${dir}README.md: missing"
		[ "$lines" -le $README_LINES ] ||
			problem "${dir}README.md: $lines lines, at most $README_LINES"
	done
	# Three ways in which time would stand for an event.
	finds -nE '^[^#]*\b(sleep|usleep|nanosleep) *[(0-9$]' -r tests examples \
		--include='*.sh' --include='*.c' --include=init \
		>"$WORK/sleeps"
	while IFS= read -r file; do
		problem "$file: no sleeping in tests"
	done <"$WORK/sleeps"
}

# Circles among headers.
tsort_includes()
{
	local file

	for file in src/*/*.h; do
		sed -n "s,^#include \"\(.*\)\",${file#src/} \1,p" "$file"
	# It fails if there are circles, of which it tells.
	done | tsort >/dev/null 2>"$WORK/circles" || true
	while IFS= read -r file; do
		problem "include circle: ${file#tsort: }"
	done <"$WORK/circles"
}

check_scripts()
{
	local file

	echo "== scripts"
	git ls-files 2>/dev/null run '.ci/run' '*.sh' '*/init' |
		while IFS= read -r file; do
			case $(head -1 "$file") in
			*busybox*) sh -n "$file" ;;
			*) bash -n "$file" ;;
			esac || echo "$file: syntax"
		done >"$WORK/scripts"
	while IFS= read -r file; do
		problem "$file"
	done <"$WORK/scripts"
}

check_analysis()
{
	echo "== clang-tidy, .clang-tidy says what is off and why"
	# It fails if it warns, of which the file tells.
	find src -name '*.c' | sort |
		xargs -P 2 -n 4 clang-tidy -p build --quiet \
			--extra-arg=-Wno-unknown-warning-option >"$WORK/tidy" 2>/dev/null ||
		true
	sed -E 's,^(.*/)?\.\./src/,src/,' "$WORK/tidy" |
		finds -E '^src/.*(warning|error):' | sort -u >"$WORK/tidy.sorted"
	sed "s,^$PWD/,," "$WORK/tidy.sorted"
	FAILURES=$((FAILURES + $(wc -l <"$WORK/tidy.sorted")))
}

[ "${1:-}" != --fix ] || { fix_format; exit 0; }
check_format
check_layout
check_scripts
[ "${1:-}" = --quick ] || check_analysis
if [ "$FAILURES" -gt 0 ]; then
	echo "check: $FAILURES problems"
	exit 1
fi
echo "check: all in order"
