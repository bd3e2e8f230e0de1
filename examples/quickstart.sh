#!/bin/sh
# From a fresh clone to a report: installs what is missing, builds, runs `rlhf quickstart` with the arguments given.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/.ci/packages.sh"

# shellcheck disable=SC2046,SC2086
install_packages $build_packages $(blis_package)

build=${RLHF_BUILD:-$root/build-release}
if [ ! -f "$build/build.ninja" ]; then
    echo "configuring $build"
    meson setup "$build" "$root" --buildtype=release -Dtests=false >"$build.log" 2>&1 || {
        cat "$build.log" >&2
        exit 1
    }
    rm -f "$build.log"
fi
echo "building"
ninja -C "$build" examples/rlhf/rlhf >"$build/build.log" 2>&1 || {
    tail -n 40 "$build/build.log" >&2
    exit 1
}
exec "$build/examples/rlhf/rlhf" quickstart "$@"
