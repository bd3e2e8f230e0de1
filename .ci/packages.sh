# Sourced by examples/quickstart.sh and tests/run.sh: installs the Debian packages that are missing and says so.
# Everything that is already there is left alone.
have_package() { dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q 'install ok installed'; }

install_packages() {
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "not a Debian system: please install yourself: $*" >&2
        return 0
    fi
    missing=""
    for package in "$@"; do
        have_package "$package" || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    as_root=""
    if [ "$(id -u)" != 0 ]; then
        if ! command -v sudo >/dev/null 2>&1; then
            echo "missing packages:$missing (neither root nor sudo: install them and try again)" >&2
            return 1
        fi
        as_root=sudo
    fi
    echo "installing with apt-get:$missing"
    log=$(mktemp)
    # The archive's lists may be old or absent on a bare machine.
    # shellcheck disable=SC2086
    quiet="env DEBIAN_FRONTEND=noninteractive"
    if $as_root $quiet apt-get update >"$log" 2>&1 &&
        $as_root $quiet apt-get install -y --no-install-recommends $missing >>"$log" 2>&1; then
        rm -f "$log"
    else
        tail -n 20 "$log" >&2
        echo "apt-get failed; its whole output is in $log" >&2
        return 1
    fi
}

# BLIS: any flavour will do; the serial one brings no second thread pool.
blis_package() {
    for package in libblis-serial-dev libblis-pthread-dev libblis-openmp-dev; do
        if have_package "$package"; then
            echo "$package"
            return
        fi
    done
    echo libblis-serial-dev
}

build_packages="gcc libc6-dev meson ninja-build pkg-config"
build_packages="$build_packages libjansson-dev libyaml-dev libpcre2-dev libutf8proc-dev zlib1g-dev"
test_packages="libcmocka-dev python3 g++"
