#!/usr/bin/env python3
"""Verifies a trail by its published format alone (reference/trail.md): none of Chaperone's code is used.

usage: verify.py FOLDER [--key VKEY|FILE]... [--checkpoints FOLDER]    needs Python 3.9 and `cryptography`
Encrypted records are verified as they are stored: no key to them is needed, and none is read.
Prints a line for each writer, or WRITER/SEQ of the first bad record (of its frame's first one) and why: exit code 6.
"""
import argparse, base64, hashlib, json, pathlib, re, struct, sys
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

VKEY = "[^+\\s]+\\+[0-9a-f]{8}\\+[A-Za-z0-9+/=]+"

class Bad(Exception): pass  # (the first record of a writer that cannot be relied on, why)

def sha(*parts): return hashlib.sha256(b"".join(parts)).digest()
def un64(text): return base64.b64decode(text, validate=True)

def crc32c(data, crc=0xFFFFFFFF, table=[]):
    if not table:
        for n in range(256):
            for _ in range(8): n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
            table.append(n)
    for byte in data: crc = table[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF

class Tree:  # RFC 6962, as the roots of the perfect subtrees, the largest first
    def __init__(self): self.size, self.nodes = 0, []
    def push(self, leaf):
        size, self.size = self.size, self.size + 1
        while size & 1: leaf, size = sha(b"\1", self.nodes.pop(), leaf), size >> 1
        self.nodes.append(leaf)
    def root(self):
        root = self.nodes[-1] if self.nodes else sha()
        for left in self.nodes[-2::-1]: root = sha(b"\1", left, root)
        return root

def vkeys(text):  # one key, or those of a file, one a line
    lines = [text] if re.fullmatch(VKEY, text) else pathlib.Path(text).read_text().split() if pathlib.Path(text).is_file() else []
    if not lines or not all(re.fullmatch(VKEY, line) for line in lines): sys.exit("--key: neither a VKEY nor a file of them")
    return [line.split("+", 2) for line in lines]

def checkpoint(note, keys):  # (writer, size, root, whether one of the keys signed it)
    text, lines = note.decode().split("\n\n")
    origin, size, root = text.split("\n")
    name, writer = origin.rsplit("/", 1)
    return writer, int(size), un64(root), signed_by(text, lines, name, keys)

def signed_by(text, lines, name, keys):
    signed = False
    for by, signature in re.findall("^\u2014 (\\S+) (\\S+)$", lines, re.M):
        key = keys.get((by, un64(signature)[:4]))
        if key and by == name:
            try: key.verify(un64(signature)[4:], text.encode() + b"\n")
            except InvalidSignature: raise ValueError("a false signature")
            signed = True
    if keys and not signed: raise ValueError("signed by none of the keys")
    return signed

def stub(path, keys):  # what stays of pruned segments
    text, lines = path.read_bytes().decode().split("\n\n", 1)
    origin, digest, line = text.split("\n")
    said = json.loads(line)
    if un64(digest) != sha(line.encode()) or said["v"] != 1: raise ValueError("a stub that is none")
    if said["writer"] != path.stem or not f"/{origin}".endswith(f"/{path.stem}/pruned"): raise ValueError("of another writer")
    said["tree"] = Tree()
    said["tree"].size, said["tree"].nodes = said["seq"], [un64(node) for node in said["frontier"]]
    if bin(said["seq"]).count("1") != len(said["frontier"]) or said["tree"].root() != un64(said["root"]): raise ValueError("not the root of its tree")
    signed_by(text, lines, origin[:-len(path.stem) - 8], keys)
    return said

def header(stored):
    length, crc = struct.unpack_from("<II", stored, 8)
    text = stored[16:16 + length]
    if stored[:8] != b"CHAPTRL1" or crc32c(text) != crc or any(stored[16 + length:4096]): raise ValueError("no header")
    return json.loads(text)

def frame(stored, at):  # the whole frame at this place, or None
    head = stored[at:at + 40]
    if head[:4] != b"CFRM" or len(head) < 40 or crc32c(head[:36]) != struct.unpack_from("<I", head, 36)[0]: return None
    kind, flags, count, size, number, first, synced = struct.unpack("<BBHIQQQ", head[4:36])
    body, end = at + 40 + 32 * count, at + 76 + 32 * count + size
    next_at = end + (at - end) % 8
    if kind not in (1, 2, 3, 4) or flags > 3 or next_at > len(stored) or any(stored[end:next_at]): return None
    if crc32c(stored[at + 40:end - 36]) != struct.unpack_from("<I", stored, end - 36)[0]: return None
    return dict(kind=kind, secret=flags & 1, final=flags & 2, n=number, first=first, last=first + count - 1, synced=synced, next=next_at,
                leaves=[stored[k:k + 32] for k in range(at + 40, body, 32)], body=stored[body:end - 36],
                bound=stored[at:end - 32], chain=stored[end - 32:end])

class Writer:
    def __init__(self, name, segments, claims, keys, stub):
        self.name, self.segments, self.claims, self.keys, self.stub = name, sorted(segments), claims, keys, stub
        self.tree, self.sealed, self.agreed, self.signed, self.durable, self.about = Tree(), False, 0, 0, 0, None
        self.first = next((h for h in map(self.header, self.segments) if h), {})
        self.prev = self.first.get("prev") or {}

    def header(self, segment):
        try: return header(segment[1])
        except (ValueError, struct.error): return None

    def agree(self, size, root, signed, where):
        if (size, root) != (self.tree.size, self.tree.root()): raise Bad(self.agreed + 1, f"{where}: not of these records")
        self.agreed, self.signed = size, size if signed else self.signed

    def check(self, said):  # `said` is what the next writer found here
        at, damage, last, seen = None, None, None, {}  # at: (frame, record, chain) after the last good frame
        for number, stored in self.segments:
            if not any(stored): continue  # an unused spare
            h = self.header((number, stored))
            if not h:
                damage = damage or Bad(at[1] + 1 if at else 1, f"segment {number}: a bad header")
                if any(stored[4096:]): raise damage
                last = (number, stored.rstrip(b"\0"))
                continue
            here = (h["first_frame"] - 1, h["first_seq"] - 1, un64(h["chain"]) if h["chain"] else sha(stored[:4096]))
            if at is None: at, seen = here, {here: self.begin(number, h, here)}
            if (h["writer"], h["segment"], h["prev"], h["key"]) != (self.name, number, self.first["prev"], self.first["key"]):
                raise Bad(at[1] + 1, "a segment out of its place")
            if here[0] > at[0]: raise damage or Bad(at[1] + 1, "frames are missing")
            if bool(h["chain"]) != (number > 1) or seen.get(here) != [un64(node) for node in h["frontier"]]: raise Bad(at[1] + 1, "a segment that does not go on")
            self.durable, damage, place, ended = max(self.durable, here[0]), None, 4096, False
            while (f := frame(stored, place)) and (f["n"], f["first"]) == (here[0] + 1, here[1] + 1) and sha(here[2], f["bound"]) == f["chain"]:
                here, place, ended = (f["n"], f["last"], f["chain"]), f["next"], f["kind"] == 4
                if f["n"] > at[0]:
                    self.take(f)
                    at, seen[here] = here, list(self.tree.nodes)
                elif here not in seen: raise Bad(f["first"], "a copy of a frame differs")
            last = (number, stored[place:].rstrip(b"\0"))
            if last[1]: damage = Bad(here[1] + 1, f"segment {number}: damaged at byte {place}")
            if damage and ended: raise damage  # nothing is ever written behind a seal
            for beyond in range(place, place + len(last[1]), 8):  # a later frame may know that the damaged one was on disk
                f = frame(stored, beyond)
                if f and f["n"] > here[0]: self.durable = max(self.durable, f["synced"])
        if at is None and (said or self.claims): raise Bad(1, "nothing of it can be read")
        if at is None:
            self.says = "it died before it had any record"
            return
        if damage and self.sealed or self.durable > at[0]: raise damage or Bad(at[1] + 1, "frames that had been on disk are gone")
        end = (*at, self.sealed, last[0], len(last[1]), sha(last[1]) if last[1] else None, False)
        if said and end != (said["frame"], said["seq"], un64(said["chain"]), said["clean"], said["segment"], said["tail_bytes"],
                            said["tail_sha256"] and un64(said["tail_sha256"]), said["damaged"]):
            raise damage or Bad(at[1] + 1, "the end is not the one that the next writer found")
        if max(self.claims, default=0) > at[1]: raise Bad(at[1] + 1, f"a checkpoint outside knows of {max(self.claims)} records")
        if 0 in self.claims: raise Bad(self.signed + 1 if self.keys else self.agreed + 1, f"a checkpoint outside: {self.claims[0][0][1]}")
        self.says = f"{at[1]} records whole, {{}} signed" + ("" if self.sealed or said else ", its end is open")

    def begin(self, number, h, here):  # the first segment that is here: a writer's first, or what follows its stub
        if not self.stub and (number != 1 or here[:2] != (0, 0)): raise Bad(1, "the segments before it are missing")
        if not self.stub: return []
        s = self.stub
        if number <= s["segment"]: raise Bad(1, "a pruning was cut off: the next start finishes it")
        if s["end"] or here != (s["frame"], s["seq"], un64(s["chain"])) or h["frontier"] != s["frontier"] or h["prev"] != s["prev"]:
            raise Bad(here[1] + 1, "it does not go on where the stub says")
        self.tree = s["tree"]
        for claim in self.claims.get(here[1], []): self.agree(*claim, "a checkpoint outside")
        return list(self.tree.nodes)

    def take(self, f):
        if self.sealed or f["synced"] >= f["n"]: raise Bad(f["first"], "a frame where none can be")
        if bool(f["secret"]) != (f["kind"] == 1 and bool(self.first["key"])): raise Bad(f["first"], "encrypted, or not, where it should be otherwise")
        lines = f["leaves"] if f["secret"] else f["body"].split(b"\n")[:-1] if f["kind"] == 1 else []
        for seq, (line, leaf) in enumerate(zip(lines, f["leaves"]), f["first"]):
            good = f["secret"] or sha(b"\0", line) == leaf and line.startswith(b'{"v":1,"seq":%d,' % seq)
            if not good: raise Bad(seq, "not the record of its leaf")
            self.tree.push(leaf)
            for claim in self.claims.get(seq, []): self.agree(*claim, "a checkpoint outside")
        bodies = {1: f["body"] if f["secret"] else b"\n".join([*lines, b""]), 2: b"", 3: f["body"], 4: self.tree.root()}
        if len(lines) != len(f["leaves"]) or (f["kind"] == 1) != bool(lines) or f["body"] != bodies[f["kind"]] or f["final"] and f["kind"] != 4:
            raise Bad(f["first"], "a frame that is none")
        if f["kind"] == 3:
            try: about, size, root, signed = checkpoint(f["body"], self.keys)
            except ValueError as error: raise Bad(self.signed + 1 if self.keys else self.agreed + 1, f"a checkpoint: {error}")
            if about == self.name: self.agree(size, root, signed, "a checkpoint")
            elif (about, size) == (self.prev.get("writer"), self.prev.get("seq")): self.about = (size, root, signed)
            else: raise Bad(self.agreed + 1, f"a checkpoint of {about}")
        self.sealed, self.durable = bool(f["final"]), max(self.durable, f["synced"])

def alone(s, said, claims, known):  # a writer of whom only its stub is left
    if not s["end"]: raise Bad(s["seq"] + 1, "the segments behind the pruned ones are missing")
    end = [s["frame"], s["seq"], s["chain"], s["segment"], s["end"]["clean"]]
    if not said or end != [said[key] for key in ("frame", "seq", "chain", "segment", "clean")]: raise Bad(s["seq"] + 1, "it does not end where the next writer found it")
    if s["prev"] and s["prev"]["writer"] not in known: raise Bad(1, "the writer before it is missing")
    if 0 in claims or max(claims, default=0) > s["seq"] or any(claim[1] != un64(s["root"]) for claim in claims.get(s["seq"], [])):
        raise Bad(s["seq"] + 1, "a checkpoint outside is not of the stub's records")
    print(f"{s['writer']}: pruned, {s['seq']} records up to {s['to']}")

def verify(args):
    keys, found, claims, writers, stubs = {}, {}, {}, {}, {}
    for name, _, public in (key for text in args.key for key in vkeys(text)):
        keys[name, sha(name.encode(), b"\n", un64(public))[:4]] = Ed25519PublicKey.from_public_bytes(un64(public)[1:])
    for path in args.folder.glob("*.trail"):
        named = re.fullmatch(r"([0-9a-f-]{36})\.(\d{6,})\.trail", path.name)
        if not named: return "", 0, f"{path.name} has no segment's name"
        found.setdefault(named[1], []).append((int(named[2]), path.read_bytes()))
    for path in args.checkpoints.glob("*.checkpoints") if args.checkpoints else ():
        for note in re.findall(rb"(?:.+\n){3}\n(?:\xe2\x80\x94 .+\n)+(?=\n)", path.read_bytes()):
            try: writer, *claim = checkpoint(note, keys)
            except ValueError as error: writer, claim = path.stem, [0, error]
            claims.setdefault(writer, {}).setdefault(claim[0], []).append(claim)
    for path in args.folder.glob("*.pruned"):
        try: stubs[path.stem] = stub(path, keys)
        except (ValueError, KeyError, TypeError) as error: return path.stem, 1, f"the stub of its pruned segments: {error}"
    for name in found: writers[name] = Writer(name, found[name], claims.get(name, {}), keys, stubs.get(name))
    order, left, said = [], sorted(writers.values(), key=lambda w: w.name), {}
    while left:  # each after the one it follows
        order.append(next((w for w in left if order and w.prev.get("writer") == order[-1].name), None)
                     or next((w for w in left if w.prev.get("writer") not in {other.name for other in left}), left[0]))
        left.remove(order[-1])
    known, left = set(writers) | set(stubs), {name: s for name, s in stubs.items() if name not in writers}
    for name, prev in [(w.name, w.prev) for w in order] + [(name, s["prev"]) for name, s in left.items()]:
        if prev and said.setdefault(prev["writer"], prev) is not prev: return name, 1, "two writers follow one: a copied volume"
    for name, s in sorted(left.items()):
        try: alone(s, said.get(name), claims.get(name, {}), known)
        except Bad as bad: return name, *bad.args
    for place, w in enumerate(order):
        if w.first and (w.prev["writer"] not in known if w.prev else place > 0): return w.name, 1, "the writer before it is missing"
        try: w.check(said.get(w.name))
        except Bad as bad: return w.name, *bad.args
        if w.about and w.prev["writer"] in writers:
            before = writers[w.prev["writer"]]
            try: before.agree(*w.about, "the checkpoint by the next writer")
            except Bad as bad: return before.name, *bad.args
    for w in order: print(f"{w.name}: {w.says.format(w.signed)}")  # only now: the next writer may have signed for it
    gone = sorted(set(claims) - known)
    if gone: return gone[0], 1, "a checkpoint outside knows of it, and nothing of it is here"
    if keys and not any(w.signed for w in order): return "", 0, "none of the keys signed anything"

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--key", action="append", default=[])
    parser.add_argument("--checkpoints", type=pathlib.Path)
    bad = verify(parser.parse_args())
    if bad: print(f"{bad[0]}/{bad[1]}: {bad[2]}")
    sys.exit(6 if bad else 0)
