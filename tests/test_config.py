"""Every setting by its name, from Python, JSON or the command line; what does not fit is refused."""

import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dtsgan.config import (
    FREE_PRESETS,
    PRESETS,
    Config,
    EncoderConfig,
    ModelConfig,
    PyramidConfig,
    TrainConfig,
    at_scale,
    parse_settings,
    preset,
)
from dtsgan.errors import ConfigError

RECIPES = [(name, layout) for name in PRESETS for layout in ("anchored", "free")]
SETTINGS = {
    f.name: part for part in (PyramidConfig, ModelConfig, TrainConfig) for f in dataclasses.fields(part)
}


@pytest.mark.parametrize("name, layout", RECIPES)
def test_every_preset_has_a_recipe_for_both_layouts(name, layout):
    config = preset(name, layout)
    assert config.preset == name
    assert config.model.layout == layout
    assert config.model.anchored == (layout == "anchored")


@pytest.mark.parametrize("name, layout", RECIPES)
def test_every_recipe_survives_a_trip_through_json(name, layout):
    config = preset(name, layout)
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_presets_are_known_by_their_names():
    assert set(FREE_PRESETS) <= set(PRESETS)
    assert {"preview", "fast", "quality", "learned", "paper"} <= set(PRESETS)
    for name, config in [*PRESETS.items(), *FREE_PRESETS.items()]:
        assert config.preset == name


def test_an_unknown_preset_suggests_the_nearest():
    with pytest.raises(ConfigError, match=r'no preset "fats" \(did you mean "fast"\?\): choose .*paper'):
        preset("fats")


def test_setting_names_belong_to_one_section():
    assert len(SETTINGS) == sum(len(dataclasses.fields(p)) for p in (PyramidConfig, ModelConfig, TrainConfig))


@pytest.mark.parametrize(
    "key, value, expected",
    [
        ("lr_g", "0.001", 0.001), ("train.lr_g", 1e-3, 1e-3), ("lr_g", 1, 1.0), ("seed", "7", 7),
        ("seed", 7.0, 7),
        ("steps", "0,10,20", (0, 10, 20)), ("steps", "5", (5,)), ("steps", 5, (5,)),
        ("steps", [1, 2], (1, 2)),
        ("betas", "0.1,0.2", (0.1, 0.2)), ("whiten", "true", True), ("whiten", "False", False),
        ("whiten", True, True),
        ("update", "single", "single"), ("adversary", "hinge,none", ("hinge", "none")),
        ("norm", "none", "none"),
        ("model.features", (8, 4), (8, 4)), ("pyramid.num_scales", "3", 3),
    ],
)  # fmt: skip
def test_a_setting_is_taken_from_python_and_from_text(key, value, expected):
    config = Config().with_settings({key: value})
    leaf = key.rpartition(".")[2]
    part = next(
        getattr(config, p) for p in ("pyramid", "model", "train") if hasattr(getattr(config, p), leaf)
    )
    found = getattr(part, leaf)
    assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize(
    "key, value, said",
    [
        ("lrg", 1, 'did you mean "lr_g"'), ("model.lr_g", 1, 'no setting "model.lr_g"'),
        ("", 1, "no setting"),
        ("lr_g", "fast", "takes a float"), ("lr_g", None, "takes a float"), ("lr_g", True, "takes a float"),
        ("lr_g", float("nan"), "between 0 and 10"), ("lr_g", -1, "between 0 and 10"),
        ("lr_g", "inf", "between"),
        ("seed", "1.5", "takes a int"), ("seed", -1, "between"), ("seed", [1], "takes a int"),
        ("seed", "", "int"),
        ("steps", (), "steps must be"), ("steps", "1,x", "takes a int"), ("steps", [-1], "steps must be"),
        ("betas", "0.5", "betas takes 2 values"), ("betas", (0.5, 1.0), "betas must be"),
        ("whiten", "maybe", "true or false"), ("whiten", 1, "true or false"), ("whiten", "", "true or false"),
        ("update", "neighbor", 'did you mean "neighbour"'),
        ("adversary", "hinge,wgan", 'did you mean "wgan-gp"'),
        ("update", None, "update is one of"), ("update", [], "update is one of"), ("seed", 10**400, "seed"),
        ("num_scales", 0, "between 1 and 16"), ("min_size", 5000, "min_size"),
        ("min_size", 200, "at most max_size"),
        ("batch_size", 0, "batch_size"), ("features", (8, 0), "features"), ("num_layers", 0, "num_layers"),
    ],
)  # fmt: skip
def test_a_setting_that_does_not_fit_is_refused_by_its_name(key, value, said):
    with pytest.raises(ConfigError) as caught:
        Config().with_settings({key: value})
    assert said in str(caught.value) and "\n" not in str(caught.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=5,
)


@settings(max_examples=300, deadline=None)
@given(key=st.sampled_from(sorted(SETTINGS)), value=json_values)
def test_any_value_for_any_setting_is_taken_or_refused_with_a_sentence(key, value):
    try:
        config = Config().with_settings({key: value})
    except ConfigError as error:
        assert "\n" not in str(error) or "\n" in str(value)
    else:
        assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@settings(max_examples=100, deadline=None)
@given(values=json_values)
def test_any_json_in_place_of_a_config_is_refused_with_a_sentence(values):
    with pytest.raises(ConfigError):
        Config.from_dict(
            values if isinstance(values, dict) else {"pyramid": values, "model": {}, "train": {}}
        )
    with pytest.raises(ConfigError):
        Config.from_dict({"pyramid": {}, "model": {"surprise": values}, "train": {}})


@pytest.mark.parametrize("values", [[], "text", 3, None])
def test_a_section_that_is_no_mapping_is_refused(values):
    with pytest.raises(ConfigError):
        parse_settings(ModelConfig, values)


def test_changing_one_setting_leaves_the_others():
    config = Config().with_settings({"seed": 3})
    assert dataclasses.replace(config, train=dataclasses.replace(config.train, seed=0)) == Config()


def test_values_of_a_scale_go_on_after_the_last():
    assert [at_scale((5, 3), n) for n in range(4)] == [5, 3, 3, 3]


def test_a_linear_model_has_no_free_layout():
    with pytest.raises(ConfigError, match="linear"):
        Config().with_settings({"coarse": "linear", "layout": "free"})


@settings(max_examples=50, deadline=None)
@given(scales=st.integers(2, 6), low=st.integers(8, 60), grown=st.floats(3, 8), asked=st.floats(0.2, 20))
def test_another_finest_size_keeps_the_factor_about(scales, low, grown, asked):
    config = PyramidConfig(num_scales=scales, min_size=low, max_size=round(low * grown))
    size = max(8, round(low * asked))
    resized = config.resized(size)
    assert resized.sides()[0] <= low and resized.sides()[-1] == size
    assert resized.sides()[0] == low or size < low * config.factor * 1.1
    # half a rung is what rounding their number may cost, and whole pixels a little; 8 is the smallest side
    assert min(config.factor ** (2 / 3), size / 8) * 0.9 <= resized.factor <= config.factor**1.5 * 1.1
    assert config.resized(config.max_size) == config


def test_a_very_large_size_takes_no_more_rungs_than_a_ladder_may_have():
    resized = PyramidConfig(num_scales=8, min_size=25, max_size=150).resized(2000)
    assert resized.sides()[-1] == 2000


def test_the_sides_of_a_ladder_grow_by_one_factor():
    sides = PyramidConfig(num_scales=5, min_size=20, max_size=180).sides()
    assert sides == [20, 35, 60, 104, 180]


def test_one_scale_has_one_size():
    assert PyramidConfig(num_scales=1, min_size=30, max_size=30).sides() == [30]
    with pytest.raises(ConfigError, match="one scale has one size"):
        PyramidConfig(num_scales=1, min_size=30, max_size=40)


# -- the encoder ---


def test_an_encoders_settings_are_read_and_bounded():
    values = parse_settings(EncoderConfig, {"form": "paper", "steps": "40", "first_frame_weight": "2.5"})
    assert EncoderConfig(**values) == EncoderConfig(form="paper", steps=40, first_frame_weight=2.5)
    again = EncoderConfig(**parse_settings(EncoderConfig, dataclasses.asdict(EncoderConfig(features=8))))
    assert again == EncoderConfig(features=8)
    for wrong in ({"features": 0}, {"batch_size": 1}, {"lr": -1}, {"steps": -1}):
        with pytest.raises(ConfigError):
            EncoderConfig(**wrong)
