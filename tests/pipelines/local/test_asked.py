from pathlib import Path

from pipelines.local.asked import Asked


def test_what_is_run_in_a_line() -> None:
    assert Asked().title == "quickstart"
    asked = Asked("full", Path("/pets"), ("training.batch_size=64",), to_step="Trainer")
    assert asked.title == "full, --images /pets, training.batch_size=64"


def test_the_command_repeats_what_was_asked_but_not_where_to_begin_and_end() -> None:
    assert Asked(from_step="Trainer", to_step="Pusher").run() == "catsdogs run"
    asked = Asked("full", Path("/my pets"), ("output_root=/out", "data.class_names=[ant, bee]"))
    assert asked.run(from_step="Pusher") == (
        "catsdogs run --config full --images '/my pets' --set output_root=/out "
        "--set 'data.class_names=[ant, bee]' --from Pusher"
    )


def test_a_change_takes_the_place_of_what_was_asked() -> None:
    asked = Asked(overrides=("training.seed=1", "output_root=/out"))
    assert asked.run("training.seed=2") == "catsdogs run --set output_root=/out --set training.seed=2"


def test_other_commands_look_into_the_folder_that_was_chosen() -> None:
    asked = Asked(images=Path("/pets"), overrides=("training.seed=1",))
    assert asked.on("runs", Path("/out")) == "catsdogs runs"
    named = "catsdogs bless 7 --reason TEXT --set output_root=/out"
    asked = Asked(overrides=("output_root=/out",))
    assert asked.on("bless", Path("/out"), "7", "--reason", "TEXT") == named
    assert Asked("my.yaml").on("runs", Path("/out")) == "catsdogs runs --set output_root=/out"
