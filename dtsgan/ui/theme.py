"""How the page looks: Gradio's variables set to the page's own, the style sheet and the player's script."""

import gradio as gr

from dtsgan.ui.routes import STATIC

FONT = ["Inter", "system-ui", "-apple-system", "Segoe UI", "sans-serif"]
MONO = ["ui-monospace", "SF Mono", "Cascadia Mono", "Menlo", "monospace"]

ICONS = {
    "pause": '<path d="M8 5v14M16 5v14"/>',
    "restart": '<path d="M4 12a8 8 0 1 0 3-6.2M4 4v4h4"/>',
    "link": '<path d="M10 14a4 4 0 0 0 6 .4l3-3a4 4 0 0 0-6-6l-1 1'
    'M14 10a4 4 0 0 0-6-.4l-3 3a4 4 0 0 0 6 6l1-1"/>',
    "full": '<path d="M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5"/>',
    "stop": '<path d="M6 6l12 12M18 6L6 18"/>',
    "theme": '<circle cx="12" cy="12" r="8"/><path d="M12 4a8 8 0 0 1 0 16z" fill="currentColor"/>',
}


def icon(what: str, label: str) -> str:
    """A round button that the page's script answers."""
    identity = ' id="dt-pause"' if what == "pause" else ""
    return (
        f'<button type="button"{identity} class="dt-icon" data-do="{what}" aria-label="{label}" '
        f'title="{label}">'
        f'<svg viewBox="0 0 24 24" aria-hidden="true">{ICONS[what]}</svg></button>'
    )


def page_head() -> str:
    """What goes into the page's `<head>`."""
    script, style = (STATIC / "page.js").read_text(), (STATIC / "page.css").read_text()
    return (  # the style sheet goes in as it is: as `css`, Gradio would rewrite its selectors
        '<meta name="description" content="Endless new video of water, fire and smoke, learned from one '
        'clip">'
        f"<style>{style}</style><script>{script}</script>"
    )


def page_theme() -> gr.themes.Base:
    """Gradio's variables in the page's colours; fonts are our own files, so nothing is fetched elsewhere."""
    return gr.themes.Base(
        primary_hue=gr.themes.colors.stone,
        neutral_hue=gr.themes.colors.stone,
        font=FONT,
        font_mono=MONO,
        radius_size=gr.themes.sizes.radius_lg,
    ).set(
        body_background_fill="var(--dt-paper)",
        body_background_fill_dark="var(--dt-paper)",
        body_text_color="var(--dt-ink)",
        body_text_color_dark="var(--dt-ink)",
        body_text_color_subdued="var(--dt-soft)",
        body_text_color_subdued_dark="var(--dt-soft)",
        background_fill_primary="var(--dt-card)",
        background_fill_primary_dark="var(--dt-card)",
        background_fill_secondary="var(--dt-sunk)",
        background_fill_secondary_dark="var(--dt-sunk)",
        border_color_primary="var(--dt-line)",
        border_color_primary_dark="var(--dt-line)",
        block_background_fill="var(--dt-card)",
        block_background_fill_dark="var(--dt-card)",
        block_border_color="var(--dt-line)",
        block_border_color_dark="var(--dt-line)",
        block_label_background_fill="var(--dt-card)",
        block_label_background_fill_dark="var(--dt-card)",
        block_label_text_color="var(--dt-soft)",
        block_label_text_color_dark="var(--dt-soft)",
        block_title_text_color="var(--dt-soft)",
        block_title_text_color_dark="var(--dt-soft)",
        block_shadow="none",
        block_shadow_dark="none",
        block_border_width="1px",
        input_background_fill="var(--dt-sunk)",
        input_background_fill_dark="var(--dt-sunk)",
        input_border_color="transparent",
        input_border_color_dark="transparent",
        input_border_color_focus="var(--dt-soft)",
        input_border_color_focus_dark="var(--dt-soft)",
        input_shadow="none",
        input_shadow_focus="none",
        button_primary_background_fill="var(--dt-ink)",
        button_primary_background_fill_dark="var(--dt-ink)",
        button_primary_background_fill_hover="color-mix(in srgb, var(--dt-ink) 86%, var(--dt-paper))",
        button_primary_background_fill_hover_dark="color-mix(in srgb, var(--dt-ink) 86%, var(--dt-paper))",
        button_primary_text_color="var(--dt-paper)",
        button_primary_text_color_dark="var(--dt-paper)",
        button_primary_border_color="transparent",
        button_primary_border_color_dark="transparent",
        button_secondary_background_fill="var(--dt-sunk)",
        button_secondary_background_fill_dark="var(--dt-sunk)",
        button_secondary_background_fill_hover="var(--dt-line)",
        button_secondary_background_fill_hover_dark="var(--dt-line)",
        button_secondary_text_color="var(--dt-ink)",
        button_secondary_text_color_dark="var(--dt-ink)",
        button_secondary_border_color="transparent",
        button_secondary_border_color_dark="transparent",
        button_large_text_weight="600",
        slider_color="var(--dt-ink)",
        slider_color_dark="var(--dt-ink)",
        checkbox_background_color="var(--dt-sunk)",
        checkbox_background_color_dark="var(--dt-sunk)",
        checkbox_background_color_selected="var(--dt-ink)",
        checkbox_background_color_selected_dark="var(--dt-ink)",
        checkbox_border_color="var(--dt-line)",
        checkbox_border_color_dark="var(--dt-line)",
        checkbox_border_color_selected="var(--dt-ink)",
        checkbox_border_color_selected_dark="var(--dt-ink)",
        checkbox_label_background_fill="var(--dt-sunk)",
        checkbox_label_background_fill_dark="var(--dt-sunk)",
        checkbox_label_background_fill_selected="var(--dt-ink)",
        checkbox_label_background_fill_selected_dark="var(--dt-ink)",
        checkbox_label_text_color_selected="var(--dt-paper)",
        checkbox_label_text_color_selected_dark="var(--dt-paper)",
        link_text_color="var(--dt-ink)",
        link_text_color_dark="var(--dt-ink)",
        link_text_color_hover="var(--dt-ink)",
        link_text_color_hover_dark="var(--dt-ink)",
        link_text_color_visited="var(--dt-ink)",
        link_text_color_visited_dark="var(--dt-ink)",
        link_text_color_active="var(--dt-ink)",
        link_text_color_active_dark="var(--dt-ink)",
        color_accent="var(--dt-ink)",
        color_accent_soft="var(--dt-sunk)",
        color_accent_soft_dark="var(--dt-sunk)",
    )
