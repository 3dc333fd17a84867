"""The hub that weights come from: what a repository holds, and its files one by one.

Only what can be read without running it is taken: safetensors, and the text beside them. The token
for repositories whose licence asks for one is read here and shown nowhere.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from fnmatch import fnmatch
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from bus.settings import Secret
from bus.weights import WeightsError, sha256_of
from contracts.errors import (
    AdgenxError,
    DisabledError,
    InvalidRequestError,
    ProviderRefusedError,
    ProviderUnavailableError,
    UnknownIdError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from contracts.manifest import WeightsPart

TOKEN_VARIABLE = "HF_TOKEN"  # noqa: S105 - the variable's name
TOKEN_FILE = "hf_token"  # noqa: S105 - the file's name
SAFE = (
    *("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken", "*.jsonl"),
    *("LICENSE*", "LICENCE*", "NOTICE*", "*.md"),
)
"""What is taken of a repository of which everything is wanted."""
REFUSED = (
    *(".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".h5", ".keras", ".npy", ".joblib"),
    *(".py", ".pyc", ".so", ".sh", ".exe", ".dll", ".zip", ".tar", ".gz", ".whl", ".jar"),
)
"""What may hold a program: never taken, not even where a manifest names it."""
PARTS = ".adgenx-parts"
"""Folder of downloads that are not finished."""
_UNAUTHORISED = (401, 403)
_MISSING = 404
_SERVER_ERROR = 500
_CHUNK = 1 << 20


class GatedError(AdgenxError):
    """The hub wants to know who asks: a licence to accept, and a token."""

    code = "GATED"


class UpstreamFile(NamedTuple):
    """A file of a repository. Of a large one its sha256 is known, of a small one git's hash."""

    path: str
    size_bytes: int
    sha256: str
    blob: str


class Upstream(NamedTuple):
    """A repository at one commit."""

    repo: str
    revision: str
    files: list[UpstreamFile]


def token_of(environ: Mapping[str, str], secrets_dir: Path) -> Secret:
    """Return the hub's token: HF_TOKEN, else the file `hf_token` of the secrets; perhaps empty."""
    if environ.get(TOKEN_VARIABLE):
        return Secret(environ[TOKEN_VARIABLE])
    with contextlib.suppress(OSError):
        return Secret((secrets_dir / TOKEN_FILE).read_text(encoding="utf-8").strip())
    return Secret("")


class Hub:
    """A hub as this user sees it. Blocks. Raises GatedError, ProviderErrors and UnknownIdError."""

    def __init__(self, token: Secret) -> None:
        if find_spec("huggingface_hub") is None:
            raise DisabledError("pulling weights needs: pip install 'adgenxai[weights]'")
        self._token = token

    def look(self, repo: str, revision: str) -> Upstream:
        """Return what a repository holds at a commit, a tag or, without one, now."""
        from huggingface_hub import HfApi

        with self._asking(repo):
            found = HfApi(token=self._told).model_info(
                repo, revision=revision or None, files_metadata=True
            )
        files = [
            UpstreamFile(
                path=file.rfilename,
                size_bytes=file.size or 0,
                sha256=file.lfs.sha256 if file.lfs else "",
                blob=file.blob_id or "",
            )
            for file in found.siblings or []
        ]
        return Upstream(repo, found.sha or "", files)

    def fetch(self, upstream: Upstream, file: UpstreamFile, folder: Path) -> str:
        """Bring one file into a folder, going on where it was broken off; return its sha256.

        Raises WeightsError for bytes that are not those that the hub promised, and keeps none.
        """
        path = folder / file.path
        if path.is_file() and _is_promised(path, file):
            return file.sha256 or sha256_of(path)  # of a pull that was broken off later
        part = folder / PARTS / f"{file.sha256 or file.blob}.part"
        part.parent.mkdir(exist_ok=True)
        # The library itself begins a file anew whenever its process has ended: tens of gigabytes.
        if not part.exists() or part.stat().st_size != file.size_bytes:
            with self._asking(upstream.repo):
                self._get(upstream, file, part)
        if not _is_promised(part, file):
            part.unlink()
            raise WeightsError(f"{upstream.repo}: {file.path} is not what the hub says it is")
        path.parent.mkdir(parents=True, exist_ok=True)
        part.replace(path)
        return file.sha256 or sha256_of(path)

    def _get(self, upstream: Upstream, file: UpstreamFile, part: Path) -> None:
        """Download what lacks of a file, with a bar of progress on standard error."""
        from huggingface_hub import get_hf_file_metadata, hf_hub_url
        from huggingface_hub.file_download import http_get
        from huggingface_hub.utils import build_hf_headers

        url = hf_hub_url(upstream.repo, file.path, revision=upstream.revision)
        where = get_hf_file_metadata(url, token=self._told).location
        ours = urlsplit(where).netloc == urlsplit(url).netloc
        with part.open("ab") as target:
            http_get(
                where,
                target,
                resume_size=target.tell(),
                headers=build_hf_headers(token=self._told if ours else False),
                displayed_filename=file.path,
            )

    @property
    def _told(self) -> str | bool:
        """What the library takes for a token; False keeps it from looking for one of its own."""
        return self._token.reveal() or False

    @contextlib.contextmanager
    def _asking(self, repo: str) -> Iterator[None]:
        """Turn what the hub and the network say into typed errors, without the token."""
        from huggingface_hub import errors

        try:
            yield
        except errors.GatedRepoError:
            raise self._gated(repo) from None
        except errors.RevisionNotFoundError:
            raise UnknownIdError(f"{repo} has no such revision", field="revision") from None
        except errors.HfHubHTTPError as error:
            raise self._refused(repo, error.response.status_code) from None
        except errors.LocalEntryNotFoundError as error:  # what it says of a broken connection
            raise ProviderUnavailableError(f"the hub is away: {self._hidden(error)}") from None
        except errors.HFValidationError as error:
            raise InvalidRequestError(self._hidden(error), field="weights") from None
        except (ConnectionError, TimeoutError) as error:
            raise ProviderUnavailableError(f"the hub is away: {self._hidden(error)}") from None
        except Exception as error:
            # Its HTTP library's own, which is another one with every major version.
            if "httpx" not in type(error).__module__ and "requests" not in type(error).__module__:
                raise
            raise ProviderUnavailableError(f"the hub is away: {self._hidden(error)}") from None

    def _refused(self, repo: str, status: int) -> AdgenxError:
        if status in _UNAUTHORISED:
            return self._gated(repo)
        if status == _MISSING:
            return UnknownIdError(f"the hub has no {repo}", field="weights")
        if status >= _SERVER_ERROR:
            return ProviderUnavailableError(f"the hub answered {status}")
        return ProviderRefusedError(f"the hub answered {status} for {repo}")

    def _gated(self, repo: str) -> GatedError:
        how = f"set {TOKEN_VARIABLE}, or write a token into {TOKEN_FILE} of the secrets folder"
        if self._token:
            how = "the token that was given may not read it"
        return GatedError(f"{repo} asks who you are: accept its licence on the hub; {how}")

    def _hidden(self, error: Exception) -> str:
        words = " ".join(str(error).split())
        secret = self._token.reveal()
        return words.replace(secret, "***") if secret else words


def chosen(part: WeightsPart, files: list[UpstreamFile]) -> list[UpstreamFile]:
    """Return the files of a repository that a part needs.

    Raises WeightsError for a pattern that nothing matches, or only what is not safe to read.
    """
    safe = [f for f in files if not f.path.lower().endswith(REFUSED)]
    if not part.files:
        found = [f for f in safe if any(fnmatch(f.path.rpartition("/")[2], p) for p in SAFE)]
        if not any(f.path.endswith(".safetensors") for f in found):
            raise WeightsError(f"{part.weights} has no safetensors: nothing else is read")
        return found
    for pattern in part.files:
        if not any(fnmatch(f.path, pattern) for f in safe):
            if any(fnmatch(f.path, pattern) for f in files):
                why = "may hold a program: it is never pulled; bring it yourself if you trust it"
                raise WeightsError(f"{part.weights}: {pattern} {why}")
            raise WeightsError(f"{part.weights}: {pattern} is not there")
    return [f for f in safe if any(fnmatch(f.path, pattern) for pattern in part.files)]


def _is_promised(path: Path, file: UpstreamFile) -> bool:
    if path.stat().st_size != file.size_bytes:
        return False
    return sha256_of(path) == file.sha256 if file.sha256 else blob_of(path) == file.blob


def blob_of(path: Path) -> str:
    """Return the hash that git knows a file by."""
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
