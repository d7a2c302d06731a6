"""Hub: search textures, pull one, push a run of one's own with its card."""

import html
import os
import queue as queues
import threading
from collections.abc import Iterator
from typing import Any

import gradio as gr

from dtsgan import hub
from dtsgan.errors import ConfigError
from dtsgan.ui.page import Page, empty, lead, plain_errors, progress_bar, rule, texture_picker
from dtsgan.ui.visitor import visitor_of

LICENCES = ["cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "mit", "other"]
KINDS = {"anchored": "a scene", "free": "a texture of any size"}
SELECT = """
element.addEventListener('click', (event) => {
  const card = event.target.closest('[data-repo]');
  if (card) trigger('select', {repo: card.dataset.repo});
});
"""


def hub_tab(page: Page, tab: gr.Tab) -> None:
    """Call inside `gr.Tab`."""
    lead(
        "Textures of others, and yours for them",
        "A texture is a few megabytes. Pull one and it plays here without a network; push yours with its "
        "card.",
    )
    can_log_in = bool(os.environ.get("SPACE_ID"))
    with gr.Row():
        with gr.Column(scale=7, min_width=320):
            with gr.Column(elem_classes="dt-panel"):
                rule("Pull", first=True)
                with gr.Row(elem_classes="dt-row-tight"):
                    query = gr.Textbox(
                        "", label="Search", placeholder="fire, water, …", max_length=100, min_width=160
                    )
                    author = gr.Textbox("", label="By", placeholder="anyone", max_length=60, min_width=110)
                    search = gr.Button("Search", variant="primary", min_width=110)
                note = gr.HTML(apply_default_css=False)
            results = gr.HTML(
                empty("Nothing is asked yet", "Search for a word, or leave it empty to see all."),
                js_on_load=SELECT,
                elem_id="hub-results",
                apply_default_css=False,
            )
        with gr.Column(scale=4, min_width=300, elem_classes="dt-panel"):
            rule("Push", first=True)
            picker = texture_picker(page, tab)
            repo = gr.Textbox("", label="To", placeholder="user/name", max_length=96)
            licence = gr.Dropdown(LICENCES, value="cc0-1.0", label="Licence of the texture")
            private = gr.Checkbox(False, label="Private")
            token = gr.Textbox(
                "", label="Token", type="password", placeholder="hf_…", max_length=200,
                info="with write access; it is used once and not kept",
            )  # fmt: skip
            if can_log_in:
                gr.LoginButton()
            push = gr.Button("Push", variant="primary")
            pushed = gr.HTML(apply_default_css=False)

    @plain_errors
    def find(query: str, author: str) -> str:
        found = hub.search(query.strip(), author=author.strip() or None, limit=30)
        if not found:
            return empty("Nothing was found", "Try another word, or none.")
        return '<div class="dt-jobs">' + "".join(_card(item) for item in found) + "</div>"

    options: dict[str, Any] = {
        "show_progress": "minimal",
        "api_visibility": "private",
        "concurrency_limit": 2,
    }
    gr.on([search.click, query.submit, author.submit], find, [query, author], results, **options)

    @plain_errors
    def pull(event: gr.EventData) -> Iterator[str]:
        name = str(event.repo)
        target = page.settings.pulled.joinpath(*name.split("/"))
        if name.count("/") != 1 or ".." in name.split("/") or page.settings.pulled not in target.parents:
            raise ConfigError(f'a texture on the Hub is called user/name, got "{name:.60}"')
        if target.exists():
            yield progress_bar(1, f"{name} is here already: it plays in Play")
            return
        for part, words in _follow(lambda tell: hub.pull(name, folder=target, on_progress=tell)):
            yield progress_bar(part, words or f"pulling {name}")
        yield progress_bar(1, f"{name} is here: it plays in Play")

    results.select(pull, None, note, **options)

    def send(
        key: str | None, repo: str, licence: str, private: bool, token: str, visitor: str, login: str | None
    ) -> Iterator[str]:
        texture = page.library.find(key or "", visitor)
        key_to_hub = token.strip() or login
        if page.settings.shared and not key_to_hub:
            raise ConfigError("pushing needs your own token, or a sign-in: give one of them")
        address: list[str] = []

        def work(tell: Any) -> None:
            address.append(
                hub.push(
                    str(texture.folder), repo.strip(), private=private, token=key_to_hub, licence=licence,
                    on_progress=tell,
                )
            )  # fmt: skip

        for part, words in _follow(work):
            yield progress_bar(part, words or f"pushing {texture.title}")
        yield f'<p class="dt-note">It is at <b>{html.escape(address[0])}</b></p>'

    inputs = [picker, repo, licence, private, token]
    if can_log_in:

        @plain_errors
        def push_texture(
            key: str | None, repo: str, licence: str, private: bool, token: str, request: gr.Request,
            login: gr.OAuthToken | None,
        ) -> Iterator[str]:  # fmt: skip
            yield from send(
                key, repo, licence, private, token, visitor_of(request), login.token if login else None
            )

        push.click(push_texture, inputs, pushed, **options)
    else:

        @plain_errors
        def push_texture_with_token(
            key: str | None, repo: str, licence: str, private: bool, token: str, request: gr.Request
        ) -> Iterator[str]:
            yield from send(key, repo, licence, private, token, visitor_of(request), None)

        push.click(push_texture_with_token, inputs, pushed, **options)


def _follow(work: Any) -> Iterator[tuple[float, str]]:
    """Runs `work(tell)` in a thread; yields what it tells. `tell` takes a part done and words, or bytes done
    and bytes in all."""
    told: queues.Queue[tuple[str, Any]] = queues.Queue()

    def tell(*what: Any) -> None:
        numbers = [float(item) for item in what if isinstance(item, int | float)]
        words = next((item for item in what if isinstance(item, str)), "")
        part = numbers[0] / numbers[1] if len(numbers) > 1 and numbers[1] else (numbers or [0.0])[0]
        told.put(("progress", (min(1.0, part), words)))

    def run() -> None:
        try:
            work(tell)
            told.put(("done", None))
        except Exception as error:  # handed to the visitor's thread
            told.put(("error", error))

    threading.Thread(target=run, name="hub", daemon=True).start()
    yield 0.0, ""
    while True:
        kind, value = told.get()
        if kind == "error":
            raise value
        if kind == "done":
            return
        yield value


def _card(item: Any) -> str:
    kind = next((words for tag, words in KINDS.items() if tag in item.tags), "")
    facts = [kind, _count(item.downloads, "download"), _count(item.likes, "like"), item.updated]
    return (
        f'<button type="button" class="dt-job" data-repo="{html.escape(item.id)}" aria-label="Pull '
        f'{html.escape(item.id)}">'
        f'<span class="name">{html.escape(item.id)}</span><span class="dt-state">Pull</span>'
        f'<span class="dt-note">{html.escape(" · ".join(filter(None, facts)))}</span></button>'
    )


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
