"""Reads the public headers: structs with their members, enumerators, functions. What it cannot read is an error."""
import os
import re

COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.S)
STRUCT = re.compile(r"typedef struct (rlhf_\w+) \{(.*?)\n\} (\w+);", re.S)
FUNCTION = re.compile(r"^RLHF_API\b(?P<head>[^;{]*?)\b(?P<name>rlhf_\w+)\s*\((?P<arguments>[^;]*)\)\s*;", re.M | re.S)


def members(body):
    """Names of a struct's members, in order."""
    names = []
    for declaration in body.split(";"):
        if not declaration.strip():
            continue
        pointer = re.search(r"\(\*(\w+)\)", declaration)
        if pointer:
            names.append(pointer.group(1))
            continue
        for part in declaration.split(","):
            names.append(re.search(r"(\w+)\s*(\[[^\]]*\])?\s*$", part).group(1))
    return names


class Headers:
    """folder holds rlhf/*.h."""

    def __init__(self, folder):
        self.structs, self.enumerators, self.functions = {}, [], {}
        here = os.path.join(folder, "rlhf")
        for name in sorted(os.listdir(here)):
            if not name.endswith(".h"):
                continue
            with open(os.path.join(here, name), encoding="utf-8") as file:
                text = COMMENT.sub("", file.read())
            for struct, body, end in STRUCT.findall(text):
                assert struct == end, "%s: %s ends as %s" % (name, struct, end)
                self.structs[struct] = members(body)
            assert len(STRUCT.findall(text)) == len(re.findall(r"typedef struct \w+ \{", text)), name
            for body in re.findall(r"\benum\s*\{(.*?)\}", text, re.S):
                self.enumerators += re.findall(r"\b(RLHF_\w+)\b(?=\s*(?:=|,|$))", body)
            for match in FUNCTION.finditer(text):
                self.functions[match.group("name")] = " ".join(match.group(0)[:-1].split())
            assert len(FUNCTION.findall(text)) == len(re.findall(r"^RLHF_API\b", text, re.M)), name
        assert self.structs and self.enumerators and self.functions, folder
