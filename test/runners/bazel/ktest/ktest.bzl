"""ktest(): a Bazel test that runs a program inside a Linux kernel.

    load("//ktest:ktest.bzl", "ktest")

    ktest(
        name = "mount_test",
        tester = ":mount_test_bin",
        files = {"//tools:mkfs": "/sbin/mkfs"},
    )

tester is anything executable: a cc_binary, a go_test, a script. It runs with
the attribute args and the files of its data, which stand where a test of Bazel
finds them; libraries that it is linked with go along. What the program prints
and its exit status are the test's. Nothing is needed of the machine that runs
it but qemu-system-x86_64; there is no root, port, daemon or name in common, so
it may run in a sandbox, next to others, or far away.

Like Monogon's macro, which had the name "ktest" for every test:
    cmdline     for the kernel, added last
    files       what else is there: label to path in the guest, or, as its
                later rule k_test has it, path to label; a path that ends
                with "/" is a directory to put the files of the label in
    files_cc    the same
And ours:
    data        more files that stand where a test of Bazel finds its data
    env         the program's environment
    kernel      instead of //ktest:kernel, which see
    options     any options of ktest, as ["-memory", "2G"]
"""

# A script, so that `"$@"` is what args and --test_arg say. Bazel tells a test
# where its data is and what --test_filter was; the guest has no symlinks.
_SCRIPT = """#!/bin/sh
[ -z "${TEST_SRCDIR:-}" ] || TEST_SRCDIR=$(cd "$TEST_SRCDIR" && pwd -P)
exec %s \\
    ${TEST_SRCDIR:+-env TEST_SRCDIR} \\
    ${TEST_WORKSPACE:+-env TEST_WORKSPACE} \\
    ${TESTBRIDGE_TEST_ONLY:+-env TESTBRIDGE_TEST_ONLY} \\
    -- %s "$@"
"""

def _quote(word):
    return "'" + word.replace("'", "'\\''") + "'"

def _path(file):
    return "./" + file.short_path

def _kernel(files):
    """The kernel among its modules."""
    if len(files) == 1:
        return files[0]
    for file in files:
        if file.basename.startswith(("vmlinu", "bzImage")):
            return file
    fail("kernel: none of its files is named vmlinuz*, vmlinux* or bzImage*")

def _file_options(label, paths):
    """-file for one of the attribute files."""
    files = label.files.to_list()
    for path in paths:
        if len(files) != 1 and not path.endswith("/"):
            fail("files: %s has %d files: the path %s has to end with a /" %
                 (label.label, len(files), path))
    return ["-file=%s:%s" % (_path(f), path) for f in files for path in paths]

def _ktest_impl(ctx):
    tester = ctx.executable.tester
    data = ctx.runfiles(files = ctx.files.data)
    if ctx.attr.tester[DefaultInfo].default_runfiles:
        data = data.merge(ctx.attr.tester[DefaultInfo].default_runfiles)
    words = [
        _path(ctx.file._ktest),
        "-kernel-path=" + _path(_kernel(ctx.files.kernel)),
        "-init=" + _path(ctx.file._init),
        "-bios=" + _path(ctx.file._bios),
        "-cmdline=" + ctx.attr.cmdline,
        "-cwd=.",
    ]
    words += ["-file=" + _path(f) for f in data.files.to_list() if f != tester]
    for label, paths in ctx.attr.files.items():
        words += _file_options(label, paths.split("\n"))
    words += ["-env=%s=%s" % item for item in ctx.attr.env.items()]
    words += ctx.attr.options
    script = ctx.actions.declare_file(ctx.label.name)
    ctx.actions.write(script, _SCRIPT % (
        " \\\n    ".join([_quote(word) for word in words]),
        _quote(_path(tester)),
    ), is_executable = True)
    own = [ctx.file._ktest, ctx.file._init, ctx.file._bios, tester]
    return [DefaultInfo(executable = script, runfiles = ctx.runfiles(
        files = own + ctx.files.kernel + ctx.files.files,
    ).merge(data))]

_ktest_test = rule(
    implementation = _ktest_impl,
    attrs = {
        "tester": attr.label(
            mandatory = True,
            executable = True,
            allow_files = True,
            cfg = "target",
        ),
        "cmdline": attr.string(),
        "data": attr.label_list(allow_files = True),
        "env": attr.string_dict(),
        "files": attr.label_keyed_string_dict(allow_files = True),
        "kernel": attr.label(
            default = ":kernel",
            allow_files = True,
        ),
        "options": attr.string_list(),
        "_ktest": attr.label(
            default = ":ktest",
            allow_single_file = True,
        ),
        "_init": attr.label(
            default = ":init",
            allow_single_file = True,
        ),
        "_bios": attr.label(
            default = ":bios.bin",
            allow_single_file = True,
        ),
    },
    test = True,
)

def ktest(tester, name = "ktest", files = {}, files_cc = {}, **kwargs):
    paths = {}  # of each label
    for key, value in files.items() + files_cc.items():
        if key.startswith("/") and not key.startswith("//"):
            key, value = value, key
        paths[key] = paths[key] + "\n" + value if key in paths else value
    _ktest_test(
        name = name,
        tester = tester,
        files = paths,
        size = kwargs.pop("size", "small"),
        **kwargs
    )
