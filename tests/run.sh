#!/bin/sh
# Builds and runs the tests; the last line is "N passed, N failed, N skipped".
#
#   tests/run.sh                        everything, optimised build
#   tests/run.sh --suite parity         one suite (unit gradient parity exact fault fuzz header lint e2e examples abi
#                                       python); repeatable
#   tests/run.sh --setup asan           address and undefined-behaviour sanitizers
#   tests/run.sh --setup tsan           thread sanitizer
#   tests/run.sh --setup valgrind       under valgrind
#   tests/run.sh --compiler clang       another compiler
#   tests/run.sh --test 'test_models'   one test by name
#
# Fixtures: $RLHF_GOLDEN (default ../shared/golden) and $RLHF_SHARED (default ../shared); tests that miss theirs are
# counted as skipped, by name.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/.ci/packages.sh"

setup=""
compiler=""
selection=""
names=""
while [ $# -gt 0 ]; do
    case $1 in
    --suite) selection="$selection --suite $2"; shift 2 ;;
    --setup) setup=$2; shift 2 ;;
    --compiler) compiler=$2; shift 2 ;;
    --test) names="$names $2"; shift 2 ;;
    -h | --help) sed -n '2,14s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "unknown argument $1 (try --help)" >&2; exit 2 ;;
    esac
done

packages="$build_packages $test_packages $(blis_package)"
[ "$setup" != valgrind ] || packages="$packages valgrind"
case $compiler in clang*) packages="$packages clang libclang-rt-14-dev" ;; esac
# shellcheck disable=SC2086
install_packages $packages

configure="--werror"
wrap=""
multiplier=1
case $setup in
"") name=test configure="$configure --buildtype=release" ;;
asan)
    name=asan multiplier=4
    configure="$configure -Db_sanitize=address,undefined -Db_lundef=false --buildtype=debugoptimized"
    ;;
tsan)
    name=tsan multiplier=8
    configure="$configure -Db_sanitize=thread -Db_lundef=false --buildtype=debugoptimized"
    ;;
valgrind)
    name=valgrind configure="$configure --buildtype=debugoptimized" multiplier=40
    # Our valgrind does not know AVX-512: the tests run on the other instruction sets there.
    wrap="valgrind --quiet --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite"
    wrap="$wrap --suppressions=$root/tests/valgrind.supp"
    # Arithmetic is several hundred times slower there: loops over many cases skip some (tests/pace.h).
    RLHF_TEST_PACE=slow
    export RLHF_TEST_PACE
    ;;
*) echo "unknown setup $setup (asan, tsan, valgrind)" >&2; exit 2 ;;
esac
if [ -n "$compiler" ]; then
    name="$name-$compiler"
    CC=$compiler
    export CC
fi

build=${RLHF_BUILD_ROOT:-$root}/build-$name
meson=$(command -v meson)
if [ ! -f "$build/build.ninja" ]; then
    # shellcheck disable=SC2086
    "$meson" setup "$build" "$root" $configure >"$build.log" 2>&1 || { cat "$build.log" >&2; exit 1; }
    rm -f "$build.log"
fi
echo "building $build"
ninja -C "$build" >"$build/build.log" 2>&1 || {
    tail -n 60 "$build/build.log" >&2
    echo "0 passed, 1 failed, 0 skipped"
    exit 1
}

RLHF_GOLDEN=${RLHF_GOLDEN:-$root/../shared/golden}
RLHF_SHARED=${RLHF_SHARED:-$root/../shared}
ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1:allocator_may_return_null=1}
UBSAN_OPTIONS=${UBSAN_OPTIONS:-halt_on_error=1:print_stacktrace=1}
export RLHF_GOLDEN RLHF_SHARED ASAN_OPTIONS UBSAN_OPTIONS

cd "$build"
status=0
if [ -n "$wrap" ]; then
    # shellcheck disable=SC2086
    "$meson" test --no-rebuild --timeout-multiplier $multiplier --wrapper "$wrap" --suite unit $names \
        >test.log 2>&1 || status=$?
else
    # shellcheck disable=SC2086
    "$meson" test --no-rebuild --timeout-multiplier $multiplier $selection $names >test.log 2>&1 || status=$?
fi
python3 "$root/tests/summary.py" meson-logs/testlog.json || status=1
exit $status
