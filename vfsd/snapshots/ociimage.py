"""Which layers an image has: read from an OCI layout, or from what `docker save` writes.

Of several images the one for this machine is taken; if that leaves a choice, none is. All
documents are bounded in size and checked field by field.

What it is *not*: the unpacking (unpack.py, ociimport.py).

Concurrency: reads in the caller's thread.

Sources: OCI image specification, image-layout.md, image-index.md, manifest.md; Docker image
specification 1.2, "manifest.json".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.snapshots.ociblobs import Blobs
from vfsd.snapshots.ociexport import REFERENCE, machine
from vfsd.snapshots.tarstream import Hashing

DOCUMENT_BYTES_MAX = 4 << 20
LAYERS_MAX = 512
_DEPTH_MAX = 4
_DIGESTS = {"sha256": 64, "sha512": 128}

INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)


class LayerFile(NamedTuple):
    """A layer: its file's name, and the digests that it must have; empty where none is told."""

    name: str
    digest: str
    diff_id: str


def is_image(blobs: Blobs) -> bool:
    """Say whether these are the files of an image at all."""
    return blobs.has("index.json") or blobs.has("manifest.json")


def layers_of(blobs: Blobs, reference: str | None = None) -> list[LayerFile]:
    """Return the image's layers, lowest first. UserError.

    `reference` chooses among several images by their name.
    """
    if blobs.has("index.json"):
        layers = _oci_layers(blobs, reference)
    else:
        layers = _docker_layers(blobs, reference)
    if len(layers) > LAYERS_MAX:
        raise _malformed(f"it has {len(layers)} layers")
    return layers


def _oci_layers(blobs: Blobs, reference: str | None) -> list[LayerFile]:
    index = _document(blobs, "index.json", "")
    manifest = _manifest(blobs, index, reference, 0)
    config = _document(blobs, *_blob(_field(manifest, "config", dict)))
    layers = [_blob(_checked(each, dict)) for each in _field(manifest, "layers", list)]
    return [
        LayerFile(name, digest, diff_id)
        for (name, digest), diff_id in zip(layers, _diff_ids(config, len(layers)), strict=True)
    ]


def _manifest(
    blobs: Blobs, index: Mapping[str, Any], reference: str | None, depth: int
) -> Mapping[str, Any]:
    """Follow an index to the one manifest that is meant."""
    if depth > _DEPTH_MAX:
        raise _malformed("its indexes lead to each other")
    found = [_checked(each, dict) for each in _field(index, "manifests", list)]
    if reference is not None and depth == 0:
        found = [each for each in found if _named(each, reference)]
        if not found:
            raise UserError(f"the image has nothing named {reference!r}", ExitCode.NOT_FOUND)
    if len(found) > 1:
        found = [each for each in found if _is_for(each, machine())] or found
    if len(found) != 1:
        names = ", ".join(sorted({_name(each) for each in found})) or "none"
        raise UserError(
            f"the file holds {len(found)} images ({names}); choose one with --image NAME",
            ExitCode.USAGE,
        )
    [chosen] = found
    document = _document(blobs, *_blob(chosen))
    if chosen.get("mediaType") in INDEXES or "manifests" in document:
        return _manifest(blobs, document, None, depth + 1)
    return document


def _docker_layers(blobs: Blobs, reference: str | None) -> list[LayerFile]:
    images = _document_list(blobs, "manifest.json")
    if reference is not None:
        images = [each for each in images if reference in (each.get("RepoTags") or ())]
    if len(images) != 1:
        names = ", ".join(str(tag) for each in images for tag in each.get("RepoTags") or ())
        raise UserError(
            f"the file holds {len(images)} such images ({names or 'none'});"
            " choose one with --image NAME",
            ExitCode.USAGE,
        )
    [image] = images
    config = _document(blobs, _plain(_field(image, "Config", str)), "")
    files = [_plain(_checked(each, str)) for each in _field(image, "Layers", list)]
    return [
        LayerFile(name, "", diff_id)
        for name, diff_id in zip(files, _diff_ids(config, len(files)), strict=True)
    ]


def _diff_ids(config: Mapping[str, Any], count: int) -> list[str]:
    ids: list[str] = _field(_field(config, "rootfs", dict), "diff_ids", list)
    if len(ids) != count:
        raise _malformed(f"it has {count} layers and digests of {len(ids)}")
    for each in ids:
        _split_digest(_checked(each, str))
    return ids


def _blob(descriptor: Mapping[str, Any]) -> tuple[str, str]:
    """Return the name of the file that a descriptor means, and its digest."""
    digest = _field(descriptor, "digest", str)
    algorithm, value = _split_digest(digest)
    return f"blobs/{algorithm}/{value}", digest


def _split_digest(digest: str) -> tuple[str, str]:
    algorithm, _, value = digest.partition(":")
    if len(value) != _DIGESTS.get(algorithm) or set(value) - set("0123456789abcdef"):
        raise _malformed(f"{digest[:80]!r} is no digest")
    return algorithm, value


def _document(blobs: Blobs, name: str, digest: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = _checked(_parsed(blobs, name, digest), dict)
    return found


def _document_list(blobs: Blobs, name: str) -> list[Mapping[str, Any]]:
    return [_checked(each, dict) for each in _checked(_parsed(blobs, name, ""), list)]


def _parsed(blobs: Blobs, name: str, digest: str) -> Any:  # noqa: ANN401 - JSON is anything
    algorithm = digest.partition(":")[0] or "sha256"
    with blobs.open(name) as file:
        source = Hashing(file, algorithm)
        data = b""
        while more := source.read(DOCUMENT_BYTES_MAX):
            data += more
            if len(data) > DOCUMENT_BYTES_MAX:
                raise _malformed(f"{name} is larger than {DOCUMENT_BYTES_MAX} bytes")
        if digest and source.finish() != digest:
            raise _malformed(f"{name} does not have the digest {digest}")
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _malformed(f"{name} is no JSON: {error}") from error


def _field(value: Mapping[str, Any], key: str, kind: type) -> Any:  # noqa: ANN401 - see `kind`
    if key not in value:
        raise _malformed(f"{key!r} is missing")
    return _checked(value[key], kind)


def _checked(value: object, kind: type) -> Any:  # noqa: ANN401 - of the type `kind`
    if not isinstance(value, kind):
        raise _malformed(f"a {kind.__name__} is expected where there is {str(value)[:40]!r}")
    return value


def _named(descriptor: Mapping[str, Any], reference: str) -> bool:
    annotations = descriptor.get("annotations")
    return isinstance(annotations, dict) and reference in (
        annotations.get(REFERENCE),
        annotations.get("io.containerd.image.name"),
    )


def _is_for(descriptor: Mapping[str, Any], wanted: Mapping[str, str]) -> bool:
    found = descriptor.get("platform")
    return isinstance(found, dict) and all(found.get(key) == wanted[key] for key in wanted)


def _name(descriptor: Mapping[str, Any]) -> str:
    annotations = descriptor.get("annotations")
    name = annotations.get(REFERENCE) if isinstance(annotations, dict) else None
    return ascii(name) if name else "unnamed"


def _plain(name: str) -> str:
    if name.startswith("/") or ".." in name.split("/"):
        raise _malformed(f"{name[:80]!r} leads out of it")
    return name


def _malformed(why: str) -> UserError:
    return UserError(f"the image is malformed: {why}", ExitCode.DAMAGED)
