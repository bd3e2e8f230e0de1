"""What the lint scripts share. A check is a function of a tree, a dictionary from relative path to text, so that its
self-test can hand it a tiny tree with one fault in it."""
import os
import re
import sys

ROOMS = ["core", "compute", "formats", "text", "data", "model", "generation", "objectives", "optimizers", "training",
         "evaluation"]
SUFFIXES = (".c", ".cpp", ".h", ".py", ".sh", ".md", ".build", ".map", ".yaml", ".yml", ".txt", ".supp")
# Made by others or by programs: not ours to lay out.
SKIPPED = re.compile(r"^(\.git|build[^/]*|runs|__pycache__|subprojects/[^/]+|tests/data|tests/fuzz/corpus[^/]*)$|"
                     r"(^|/)(__pycache__|\.[^/]*cache|[^/]*\.egg-info|corpus)$")

C_HEADERS = set("""assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal stdalign
    stdarg stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string tgmath threads time uchar wchar
    wctype""".split())
POSIX_HEADERS = set("""aio arpa/inet dirent dlfcn fcntl fmtmsg fnmatch ftw glob grp iconv langinfo libgen mqueue
    net/if netdb netinet/in netinet/tcp poll pthread pwd regex sched semaphore spawn strings sys/ipc sys/mman sys/msg
    sys/resource sys/select sys/sem sys/shm sys/socket sys/stat sys/statvfs sys/time sys/times sys/types sys/uio sys/un
    sys/utsname sys/wait syslog tar termios unistd utime wordexp sys/ioctl""".split())


def read_tree(root):
    tree = {}
    for folder, folders, files in os.walk(root):
        relative = os.path.relpath(folder, root).replace(os.sep, "/")
        relative = "" if relative == "." else relative + "/"
        folders[:] = sorted(f for f in folders if not SKIPPED.search(relative + f))
        for name in sorted(files):
            if name.endswith(SUFFIXES) or name == "meson_options.txt":
                with open(os.path.join(folder, name), "rb") as file:
                    tree[relative + name] = file.read().decode("utf-8", errors="surrogateescape")
    return tree


def blank(text):
    return re.sub(r"[^\n]", " ", text)


TOKEN = re.compile(r'/\*.*?(?:\*/|\Z)|//[^\n]*|"(?:\\.|[^"\\\n])*"|' r"'(?:\\.|[^'\\\n])*'", re.S)


def without_comments(text):
    """The same text with blanks for comments: lines and columns stay."""
    return TOKEN.sub(lambda m: blank(m.group()) if m.group().startswith("/") else m.group(), text)


def code_only(text):
    """The same text with blanks for comments and for what stands in quotes. Names of included files stay."""
    def replace(match):
        token = match.group()
        return blank(token) if token.startswith("/") else token[0] + blank(token[1:-1]) + token[-1]

    return re.sub(r"(?m)^([ \t]*#[ \t]*include[^\n]*)|" + TOKEN.pattern,
                  lambda m: m.group() if m.group(1) else replace(m), text, flags=re.S)


def literals(text):
    """Yields (line number, text between the quotes) of every string."""
    for match in TOKEN.finditer(text):
        if match.group().startswith('"'):
            yield line_of(text, match.start()), match.group()[1:-1]


def line_of(text, position):
    return text.count("\n", 0, position) + 1


INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(<[^>\n]+>|"[^"\n]+")', re.M)


def includes(text):
    """Yields (line number, '<' or '"', path)."""
    text = without_comments(text)
    for match in INCLUDE.finditer(text):
        yield line_of(text, match.start()), match.group(1)[0], match.group(1)[1:-1]


API = re.compile(r"^RLHF_API\b(?P<head>[^;{]*?)\b(?P<name>rlhf_\w+)\s*\((?P<rest>[^;]*)\)[^;]*;", re.M | re.S)


def public_functions(text):
    """Yields (line number, name) of every function that a header exports."""
    text = without_comments(text)
    for match in API.finditer(text):
        yield line_of(text, match.start()), match.group("name")


def room_of(path):
    match = re.match(r"lib/([^/]+)/", path)
    return match.group(1) if match else None


class Report:
    def __init__(self):
        self.messages = []

    def add(self, path, line, message):
        self.messages.append("%s:%d: %s" % (path, line, message))


def run(check, minimum, good, faults):
    """The main function of a lint script. minimum: the check must have looked at so many things (its return value), or
    it has looked at the wrong place. good: a tree without faults. faults: (piece of the message, tree) pairs, each of
    which must be found."""
    if sys.argv[1:] == ["--self-test"]:
        wrong = []
        report = Report()
        check(good, report)
        wrong += ["clean sample: " + message for message in report.messages]
        for expected, tree in faults:
            report = Report()
            check(tree, report)
            if not any(expected in message for message in report.messages):
                wrong.append("not found: %r, only %r" % (expected, report.messages))
            wrong += ["not of the form file:line: message: " + m for m in report.messages
                      if not re.match(r"[^:\n]+:\d+: \S", m)]
        print("\n".join(wrong) if wrong else "%d faults found, as they should be" % len(faults))
        sys.exit(1 if wrong else 0)
    if len(sys.argv) != 2:
        sys.exit("usage: %s ROOT | --self-test" % sys.argv[0])
    report = Report()
    seen = check(read_tree(sys.argv[1]), report)
    if seen < minimum:
        report.add("tests/lint/" + os.path.basename(sys.argv[0]), 1,
                   "saw %d things, at least %d expected: is %s the source root?" % (seen, minimum, sys.argv[1]))
    for message in report.messages:
        print(message)
    print("%d checked, %d faults" % (seen, len(report.messages)))
    sys.exit(1 if report.messages else 0)
