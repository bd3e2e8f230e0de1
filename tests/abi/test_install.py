#!/usr/bin/env python3
"""Installs into an empty tree and builds a program against it as users do: with pkg-config and each C compiler, with
CMake, with Meson, and with Meson from the source as a subproject. Every program runs. What a machine has no tool for is
named as skipped.

test_install.py MESON SOURCE_ROOT BUILD_ROOT VERSION"""
import os
import shutil
import subprocess
import sys
import tempfile
import traceback

SOURCE, BUILD, VERSION = sys.argv[-3:]
MESON = sys.argv[1:-3]
HERE = os.path.dirname(os.path.abspath(__file__))
CONSUMER = os.path.join(HERE, "consumer.c")


class Skipped(Exception):
    pass


def run(*command, **options):
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True,
                            timeout=600, **options)
    if result.returncode != 0:
        raise AssertionError("%s: exit %d\n%s" % (" ".join(command), result.returncode, result.stdout))
    return result.stdout


def need(tool):
    if shutil.which(tool) is None:
        raise Skipped("no %s" % tool)


def write(path, text):
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


class Tree:
    """The installed tree, moved to where nobody expected it."""

    def __init__(self, root):
        staged = os.path.join(root, "staged")
        run(*MESON, "install", "--no-rebuild", "--quiet", "-C", BUILD, "--destdir", staged)
        found = [os.path.join(folder, "rlhf.pc") for folder, _, files in os.walk(staged) if "rlhf.pc" in files]
        assert len(found) == 1, found
        self.root = staged
        self.pkgconfig = os.path.dirname(found[0])
        self.lib = os.path.dirname(self.pkgconfig)
        with open(found[0], encoding="utf-8") as file:
            prefix = [line.strip()[len("prefix="):] for line in file if line.startswith("prefix=")][0]
        self.prefix = staged + prefix
        self.environment = dict(os.environ, PKG_CONFIG_PATH=self.pkgconfig, LD_LIBRARY_PATH=self.lib)
        # A user's flags are not this build's.
        for name in ("CFLAGS", "LDFLAGS", "DESTDIR"):
            self.environment.pop(name, None)

    def pkg_config(self, *what):
        need("pkg-config")
        return run("pkg-config", "--define-variable=prefix=" + self.prefix, *what, "rlhf", env=self.environment).split()

    def runs(self, program):
        output = run(program, env=self.environment)
        assert "as it was" in output, output


def test_files(tree):
    assert tree.pkg_config("--modversion") == [VERSION]
    names = sorted(os.listdir(os.path.join(SOURCE, "include", "rlhf")))
    for name in names:
        if name.endswith(".h"):
            assert os.path.exists(os.path.join(tree.prefix, "include", "rlhf", name)), name
    major = VERSION.split(".")[0]
    for name in ("librlhf.so", "librlhf.so." + major, "librlhf.so." + VERSION):
        assert os.path.exists(os.path.join(tree.lib, name)), name
    strays = [os.path.join(folder, name) for folder, _, files in os.walk(tree.root) for name in files
              if "room_" in name or "example" in name or name.endswith(".a") and name != "librlhf.a"]
    assert not strays, strays
    size = os.path.getsize(os.path.join(tree.lib, "librlhf.so." + VERSION))
    print("librlhf.so: %.1f MB" % (size / 1e6))


def compile_with(tree, compiler, *more):
    need(compiler)
    run(compiler, *more, CONSUMER, "-o", "consumer", *tree.pkg_config("--cflags", "--libs"))
    tree.runs("./consumer")


def test_gcc(tree):
    compile_with(tree, "gcc", "-std=c99", "-Wall", "-Wextra", "-Werror")


def test_clang(tree):
    compile_with(tree, "clang", "-std=c17", "-Wall", "-Wextra", "-Werror")


def test_cpp(tree):
    need("g++")
    write("consumer.cpp", "#include <rlhf/rlhf.h>\n#include <cstdio>\nint main()\n{\n    rlhf_context *context;\n"
                          "    int failed = rlhf_context_create(&context, nullptr) != RLHF_OK;\n"
                          "    rlhf_context_release(&context);\n    std::puts(\"as it was\");\n    return failed;\n}\n")
    run("g++", "-std=c++11", "-Wall", "-Wextra", "-Werror", "consumer.cpp", "-o", "consumer",
        *tree.pkg_config("--cflags", "--libs"))
    tree.runs("./consumer")


def test_cmake(tree):
    need("cmake")
    write("CMakeLists.txt", "cmake_minimum_required(VERSION 3.10)\nproject(consumer C)\n"
                            "find_package(rlhf %s REQUIRED CONFIG)\nadd_executable(consumer %s)\n"
                            "target_link_libraries(consumer rlhf::rlhf)\n" % (VERSION, CONSUMER))
    run("cmake", "-S", ".", "-B", "build", "-DCMAKE_PREFIX_PATH=" + tree.prefix, env=tree.environment)
    run("cmake", "--build", "build", env=tree.environment)
    tree.runs("build/consumer")
    write("later/CMakeLists.txt", "cmake_minimum_required(VERSION 3.10)\nproject(consumer NONE)\n"
                                  "find_package(rlhf 99.0 REQUIRED CONFIG)\n")
    later = subprocess.run(["cmake", "-S", "later", "-B", "none", "-DCMAKE_PREFIX_PATH=" + tree.prefix],
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True,
                           env=tree.environment)
    assert later.returncode != 0 and "99.0" in later.stdout, later.stdout


PROJECT = ("project('consumer', 'c')\nexecutable('consumer', '%s', dependencies: [dependency('rlhf'%%s), "
           "meson.get_compiler('c').find_library('m')])\n" % CONSUMER)


def test_meson(tree):
    need("pkg-config")
    pc = os.path.join(tree.pkgconfig, "rlhf.pc")  # Meson cannot be told another prefix
    with open(pc, encoding="utf-8") as file:
        lines = ["prefix=%s\n" % tree.prefix if line.startswith("prefix=") else line for line in file]
    write("pkgconfig/rlhf.pc", "".join(lines))
    environment = dict(tree.environment, PKG_CONFIG_PATH=os.path.abspath("pkgconfig"))
    write("meson.build", PROJECT % "")
    run(*MESON, "setup", "build", env=environment)
    run(*MESON, "compile", "-C", "build", env=environment)
    tree.runs("build/consumer")


def test_subproject(tree):
    """From the source, as fast as it compiles: without optimisation, tests and examples."""
    write("meson.build", PROJECT % ", fallback: ['rlhf', 'rlhf_dep'], default_options: ['tests=false', "
                                   "'examples=false', 'fuzz=false', 'bench=false']")
    os.makedirs("subprojects")
    os.symlink(SOURCE, "subprojects/rlhf")
    environment = dict(tree.environment)
    environment.pop("PKG_CONFIG_PATH")
    run(*MESON, "setup", "build", "--buildtype=plain", "--force-fallback-for=rlhf", env=environment)
    run(*MESON, "compile", "-C", "build", env=environment)
    environment.pop("LD_LIBRARY_PATH")
    assert "as it was" in run("build/consumer", env=environment)


def main():
    tests = [(name, value) for name, value in globals().items() if name.startswith("test_")]
    failed = 0
    with tempfile.TemporaryDirectory() as root:
        tree = Tree(root)
        for name, test in tests:
            work = os.path.join(root, name)
            os.mkdir(work)
            os.chdir(work)
            try:
                test(tree)
                print("[       OK ] " + name)
            except Skipped as reason:
                print("%s: %s\n[  SKIPPED ] %s" % (name, reason, name))
            except Exception:
                failed += 1
                traceback.print_exc(file=sys.stdout)
                print("[  FAILED  ] " + name)
            sys.stdout.flush()
        os.chdir("/")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
