"""Holds the #includes under server/ against the directions of the rooms in ARCHITECTURE.md."""

import pathlib
import re
import sys

# Which rooms a room may include from; itself goes without saying.
ALLOWED = {
    "base": set(),
    "coupon": {"base"},
    "product": {"base"},
    "adapters/embedded": {"base", "coupon", "product"},
    "adapters/kafka": {"base", "coupon"},
    "adapters/redis": {"base", "coupon", "product"},
    "adapters/mysql": {"base", "coupon", "product"},
    "rpc": {"base", "coupon", "product"},
    "app": {"base", "coupon", "product", "rpc", "adapters/embedded", "adapters/kafka",
            "adapters/mysql", "adapters/redis"},
    "ctl": {"base", "coupon", "product", "app", "adapters/embedded", "adapters/kafka",
            "adapters/mysql", "adapters/redis"},
    ".": {"base", "app"},
}
# Which headers of a library only these rooms may see.
DRIVERS = {
    "sqlite3.h": {"adapters/embedded"},
    "httplib.h": {"app", "ctl"},
    "prometheus/": {"app"},
    "grpcpp/": {"rpc"},
    "spdlog/": {"base"},
    "hiredis/": {"adapters/redis"},
    "mysql": {"adapters/mysql"},
    "librdkafka/": {"adapters/kafka"},
}
# The domain speaks of its own values; protos are the wire's.
PROTO_ROOMS = {"rpc", "adapters/kafka", "adapters/redis"}
INCLUDE = re.compile(r'^\s*#\s*include\s*["<]([^">]+)[">]', re.MULTILINE)


def room_of(path: str) -> str:
    folder = str(pathlib.PurePosixPath(path).parent)
    return folder if folder in ALLOWED else ""


def wrongs(root: pathlib.Path):
    for file in sorted(root.rglob("*")):
        if file.suffix not in {".h", ".cc"}:
            continue
        relative = str(file.relative_to(root))
        room = room_of(relative)
        if not room:
            yield f"{relative}: its folder is no room; name it in {pathlib.Path(__file__).name}"
            continue
        for target in INCLUDE.findall(file.read_text(encoding="utf-8")):
            for driver, rooms in DRIVERS.items():
                if target.startswith(driver) and room not in rooms:
                    yield f"{relative}: {target} is for {', '.join(sorted(rooms))} only"
            if ".." in target.split("/"):
                yield f"{relative}: {target} climbs out of its room"
            if target.endswith(".pb.h") and room not in PROTO_ROOMS:
                yield f"{relative}: {target} is for {', '.join(sorted(PROTO_ROOMS))} only"
            if (root / target).exists():
                wanted = room_of(target)
                if wanted != room and wanted not in ALLOWED[room]:
                    yield f"{relative}: {room} must not include {target}"


def main() -> int:
    root = pathlib.Path(__file__).resolve().parents[2] / "server"
    found = list(wrongs(root))
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


sys.exit(main())
