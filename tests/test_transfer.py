"""The way to the Hub and back, with the real client over HTTP: what breaks off, is refused, is said."""

import errno
import logging
import threading

import pytest
from loopback_hub import TOKEN

from dtsgan import transfer
from dtsgan.errors import HubError

FILES = {
    "config.json": b'{"a": 1}',
    "pyramid/config.json": b"{}",
    "pyramid/w.safetensors": bytes(range(256)) * 999,
}
LIMITS = {name: 2**20 for name in FILES}


@pytest.fixture
def stored(loopback):
    loopback.add("bob/waves", dict(FILES))
    return loopback


def download(repo="bob/waves", **settings):
    return transfer.download(repo, LIMITS, list(FILES), **settings)


def upload(files=None, repo="alice/waves", **settings):
    return transfer.upload(files or FILES, repo, **{"ours": lambda there: True, **settings})


def refusal(action, *arguments, **settings) -> str:
    """The one sentence with which it ends; no token in it, nor in what it was raised from."""
    with pytest.raises(HubError) as caught:
        action(*arguments, **settings)
    error = caught.value
    sentence = str(error)
    assert sentence and "\n" not in sentence and len(sentence) < 400
    assert "hf_" not in sentence
    assert error.__cause__ is None and (error.__context__ is None or error.__suppress_context__)
    return sentence


def contents(folder) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES}


# -- down ---


def test_what_is_downloaded_is_what_was_stored(stored):
    assert contents(download()) == FILES


def test_only_the_named_files_are_asked_for(stored):
    evil = {
        "pipeline.py": b"raise SystemExit",
        "pyramid/model.bin": b"\x80",
        "../../escape": b"!",
        "a.pkl": b"",
    }
    stored.add("bob/more", {**FILES, **evil})
    folder = download("bob/more")
    assert {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} == set(FILES)
    assert not any(name in request for name in evil for request in stored.requests)


def test_the_second_time_costs_one_request(stored):
    download()
    stored.requests.clear()
    assert contents(download()) == FILES
    assert stored.requests == ["GET /api/models/bob/waves"]


def test_a_commit_that_is_here_costs_none(stored):
    commit = stored.repo("bob/waves").refs["main"]
    download(revision=commit)
    stored.requests.clear()
    assert contents(download(revision=commit)) == FILES
    assert stored.requests == []


def test_revisions_are_told_apart(stored):
    first = stored.repo("bob/waves").refs["main"]
    stored.repo("bob/waves").commit({**FILES, "config.json": b"new"}, "dev/next")
    assert (download(revision="dev/next") / "config.json").read_bytes() == b"new"
    assert contents(download(revision=first)) == contents(download()) == FILES


def test_what_changed_on_the_hub_arrives(stored):
    download()
    stored.repo("bob/waves").commit({**FILES, "config.json": b"new"})
    assert (download() / "config.json").read_bytes() == b"new"


def test_what_is_cached_loads_without_a_network(stored, monkeypatch):
    download()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert contents(download()) == FILES
    assert contents(download(local_files_only=True)) == FILES


def test_no_network_and_nothing_cached_is_said(loopback, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    sentence = refusal(download)
    assert "cannot be reached" in sentence and "pulled before work without it" in sentence


def test_the_cache_alone_is_asked_when_told_so(stored):
    assert "is not in the cache" in refusal(download, local_files_only=True)
    assert stored.requests == []


def test_offline_mode_is_named(stored, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.is_offline_mode", lambda: True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "cache" in refusal(download)


@pytest.mark.parametrize(
    "name", ["waves", "a/b/c", "../up", "a/..", "/etc/passwd", "a b/c", "", "a/b--c", "-/x"]
)
def test_a_name_that_no_repository_can_have_is_refused_before_asking(loopback, name):
    assert '"user/name"' in refusal(download, name)
    assert loopback.requests == []


def test_a_missing_repository_is_said(loopback):
    sentence = refusal(download)
    assert 'no repository "bob/waves"' in sentence and "private" in sentence


def test_a_missing_revision_is_said(stored):
    assert 'no revision "v9"' in refusal(download, revision="v9")


def test_a_private_repository_is_as_good_as_missing_without_the_token(stored, monkeypatch):
    stored.repo("bob/waves").private = True
    assert contents(download()) == FILES  # HF_TOKEN
    monkeypatch.setenv("HF_TOKEN", "hf_somebodyElse")
    stored.repo("bob/waves").commit({**FILES, "config.json": b"new"})
    assert "or it is private" in refusal(download)
    assert (download(token=TOKEN) / "config.json").read_bytes() == b"new"


def test_a_gated_repository_says_where_to_ask(stored):
    stored.repo("bob/waves").gated = True
    sentence = refusal(download)
    assert "gated" in sentence and "/bob/waves" in sentence


def test_a_repository_of_something_else_is_refused_before_anything_is_fetched(loopback):
    loopback.add("bob/llm", {"README.md": b"hello", "model.bin": b"0" * 10**6})
    assert "not a DTSGAN texture: it has no config.json" in refusal(download, "bob/llm")
    assert loopback.served == 0


def test_an_absurd_size_is_refused_before_anything_is_fetched(stored):
    stored.repo("bob/waves").sizes["pyramid/w.safetensors"] = 5 * 10**11
    sentence = refusal(download)
    assert "476,837 MB" in sentence and "none needs more than 1" in sentence
    assert stored.served == 0


def test_a_download_that_breaks_off_is_said_and_goes_on_when_repeated(stored):
    stored.fail("GET", "w.safetensors", "cut", times=20)
    assert "broke off while downloading" in refusal(download)
    assert "only in part" in refusal(download, local_files_only=True)
    stored.faults.clear()
    assert contents(download()) == FILES


def test_a_server_in_trouble_is_said(stored):
    stored.fail("POST", "paths-info", 503, times=20)
    assert "503" in refusal(download)


def test_too_many_requests_are_said(stored):
    stored.fail("POST", "paths-info", 429, times=20)
    assert "too many requests" in refusal(download)


def test_a_networks_login_page_is_told_apart_from_the_hub(stored):
    stored.fail("GET", "/api/models/", "page", times=20)
    assert "is not the Hub" in refusal(download)


def test_a_full_disk_is_said(stored, monkeypatch):
    def full(*arguments, **settings):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("huggingface_hub.file_download.http_get", full)
    sentence = refusal(download)
    assert "no space left" in sentence and "HF_HOME" in sentence


def test_a_bug_is_not_dressed_up_as_the_hubs_fault(stored, monkeypatch):
    monkeypatch.setattr(transfer, "_check_listing", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        download()


def test_two_at_once_share_one_cache(stored):
    folders, errors = [], []

    def pull():
        try:
            folders.append(download())
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=pull) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [] and len(set(folders)) == 1
    assert contents(folders[0]) == FILES


def test_progress_is_told_and_ends_at_one(stored):
    told = []
    download(on_progress=lambda fraction, what: told.append((fraction, what)))
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions) and fractions[-1] == 1
    assert all(0 <= f <= 1 for f in fractions) and told[0][1] == "downloading bob/waves"


# -- up ---


def test_what_is_uploaded_is_what_is_stored_in_one_commit(loopback):
    assert upload() == f"{loopback.url}/alice/waves"
    stored = loopback.repo("alice/waves")
    assert {name: stored.files[name] for name in FILES} == FILES
    assert len(stored.commits) == 2  # the one that makes the repository, and ours


def test_files_on_disk_and_bytes_go_alike(loopback, tmp_path):
    (tmp_path / "w").write_bytes(FILES["pyramid/w.safetensors"])
    upload({**FILES, "pyramid/w.safetensors": tmp_path / "w"})
    assert loopback.repo("alice/waves").files["pyramid/w.safetensors"] == FILES["pyramid/w.safetensors"]


def test_the_same_again_sends_no_large_file_twice(loopback):
    upload()
    loopback.requests.clear()
    upload()
    assert not any(request.startswith("PUT") for request in loopback.requests)
    assert {name: loopback.repo("alice/waves").files[name] for name in FILES} == FILES


def test_an_upload_that_breaks_off_leaves_nothing_half_and_can_be_repeated(loopback):
    big = {"a.safetensors": b"a" * 9999, "b.safetensors": b"b" * 9999, "config.json": b"{}"}
    upload(big)
    before = dict(loopback.repo("alice/waves").files)
    changed = {name: content * 2 for name, content in big.items()}
    loopback.fail("POST", "/commit/", 500, times=20)
    assert "500 while uploading" in refusal(upload, changed)
    assert loopback.repo("alice/waves").files == before
    loopback.faults.clear()
    loopback.requests.clear()
    upload(changed)
    assert not any(request.startswith("PUT") for request in loopback.requests)  # they had arrived
    assert loopback.repo("alice/waves").files["a.safetensors"] == changed["a.safetensors"]


def test_a_file_that_does_not_get_through_is_said_and_can_be_repeated(loopback, monkeypatch):
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    loopback.fail("PUT", "/lfs/", "cut", times=50)
    assert "while uploading" in refusal(upload)
    assert set(loopback.repo("alice/waves").files) == {".gitattributes"}
    loopback.faults.clear()
    upload()
    assert loopback.repo("alice/waves").files["pyramid/w.safetensors"] == FILES["pyramid/w.safetensors"]


def test_pushing_without_a_token_says_how_to_log_in(loopback, monkeypatch):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    assert "hf auth login" in refusal(upload)
    assert loopback.requests == []


def test_a_token_that_is_not_good_is_said(loopback):
    sentence = refusal(upload, token="hf_wrongSecret123")
    assert "hf auth login" in sentence and "wrongSecret" not in sentence


def test_somebody_elses_namespace_is_said(loopback):
    assert "may not do that" in refusal(upload, repo="bob/waves")


def test_private_makes_a_private_repository(loopback):
    upload(private=True)
    assert loopback.repo("alice/waves").private
    upload(private=True)


def test_a_public_repository_is_not_taken_for_a_private_one(loopback):
    upload()
    before = loopback.repo("alice/waves").files
    sentence = refusal(upload, {**FILES, "config.json": b"secret"}, private=True)
    assert "public" in sentence and loopback.repo("alice/waves").files == before


def test_a_repository_of_something_else_is_not_written_over(loopback):
    loopback.add("alice/llm", {"model.bin": b"0"})
    assert "holds something else" in refusal(upload, repo="alice/llm", ours=lambda there: "x" in there)
    assert loopback.repo("alice/llm").files == {"model.bin": b"0"}


def test_stale_files_go_and_others_stay(loopback):
    loopback.add("alice/waves", {"old.webp": b"0", "notes.txt": b"mine", "config.json": b"old"})
    upload(stale=["old.webp", "never.webp", "config.json"])
    files = loopback.repo("alice/waves").files
    assert "old.webp" not in files and files["notes.txt"] == b"mine"
    assert files["config.json"] == FILES["config.json"]


def test_a_refusal_of_the_hub_is_passed_on_without_the_token(loopback):
    loopback.fail("POST", "/commit/", 400)
    sentence = refusal(upload)
    assert "refused it (400)" in sentence and "***" in sentence  # this server repeats the token


def test_no_token_is_left_in_logs_or_files(loopback, tmp_path, caplog):
    with caplog.at_level(logging.DEBUG):
        upload(token=TOKEN)
        download("alice/waves", token=TOKEN)
        refusal(download, "alice/none", token=TOKEN)
    assert any(TOKEN in headers.get("authorization", "") for headers in loopback.headers)
    assert TOKEN not in caplog.text
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes()


def test_a_token_in_any_text_is_struck_out():
    assert (
        transfer.scrubbed("no hf_abcDEF123 here, Bearer xyz.123 or there\nend")
        == "no *** here, *** or there end"
    )
