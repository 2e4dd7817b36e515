"""Whether a folder is on a network file system, where SQLite's write-ahead log and its locks cannot be relied on."""

from __future__ import annotations

from pathlib import Path

import psutil

_NETWORK = frozenset({
    "9p", "afpfs", "afs", "beegfs", "beegfs_nodev", "ceph", "cifs", "gfs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs",
    "nfs3", "nfs4", "ocfs2", "orangefs", "panfs", "prl_fs", "pvfs2", "smb", "smb2", "smb3", "smbfs", "vboxsf", "virtiofs",
    "vmhgfs", "wekafs", "webdav",
})  # fmt: skip
_LOCAL_FUSE = ("fuse.fuse-overlayfs", "fuse.ntfs", "fuse.exfat", "fuse.lxcfs")


def network_type(folder: Path) -> str | None:
    """The type of the network file system that a folder is on; None on a local one, or where it cannot be told."""
    kind = _type_of(folder)
    is_shared = kind in _NETWORK or (kind.startswith("fuse.") and not kind.startswith(_LOCAL_FUSE))
    return kind if is_shared else None


def _type_of(folder: Path) -> str:
    """The type of the innermost mount; of two on one folder, the later hides the earlier."""
    place = folder.resolve()
    try:
        mounts = [(Path(mount.mountpoint), mount.fstype) for mount in psutil.disk_partitions(all=True)]
    except OSError:  # a sandbox that does not show its mounts
        return ""
    around = [(len(point.parts), kind) for point, kind in mounts if place.is_relative_to(point)]
    deepest = max((depth for depth, _ in around), default=0)
    return next((kind.lower() for depth, kind in reversed(around) if depth == deepest), "")
