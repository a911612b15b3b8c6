"""Training and decoding through the entry points, with a tiny model on seconds of audio."""

import io
import os
import pickle
import subprocess
import sys

import pytest
import torch
import yaml

from imlspike import Speech2Text
from imlspike.data.files import read_kaldi, write_kaldi
from imlspike.data.yaml_file import ConfigError
from imlspike.espnet import __main__ as stand_in
from imlspike.espnet import register, run_espnet
from imlspike.inference import Bundle
from imlspike.inference.experiment import read_experiment
from imlspike.inference.recognizer import Recognizer
from tests.espnet.tiny import TEXTS, tone, train_args


def test_two_gloo_processes_train_one_epoch(tiny_experiment):
    """The experiment holds what ESPnet's trainer leaves after an epoch, from a plain YAML with our key."""
    config = yaml.safe_load((tiny_experiment / "config.yaml").read_text())
    assert config["encoder"] == "iml_spikeformer"
    assert config["dist_world_size"] == 2
    checkpoint = torch.load(tiny_experiment / "checkpoint.pth", weights_only=False)
    assert checkpoint["reporter"]["epoch"] == 1
    assert any(key.startswith("encoder.blocks.0.") for key in checkpoint["model"])
    assert [path.name for path in tiny_experiment.glob(".*")] == [".training"]


def test_importing_leaves_espnet_alone_until_it_is_registered():
    code = "import sys, imlspike.espnet as e; assert not {'espnet', 'espnet2', 'torch'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_names_of_tasks_and_programs(monkeypatch):
    """A task trains; others are programs of ESPnet; what is neither is a script."""
    called = []
    monkeypatch.setattr(stand_in, "run_espnet", lambda *words: called.append(words))
    for program in (
        ["asr", "--config", "a"],
        ["lm"],
        ["enh_s2t"],
        ["asr_inference", "-x"],
        ["lm_calc_perplexity"],
    ):
        stand_in.run(program)
    assert called == [
        ("asr_train", ["--config", "a"]), ("lm_train", []), ("enh_s2t_train", []), ("asr_inference", ["-x"]),
        ("lm_calc_perplexity", []),
    ]  # fmt: skip
    with pytest.raises(FileNotFoundError, match="asr_trian"):
        stand_in.run(["asr_trian"])


def test_beam_search_through_the_stand_in_on_half_of_the_keys(tiny_data, tiny_experiment, tmp_path):
    """ESPnet's scripts call `python3 -m espnet2.bin.asr_inference`; the stand-in gives them our encoder.

    Options of the interpreter go to a new one, and imports print nothing among a program's results.
    """
    half = sorted(TEXTS)[::2]
    write_kaldi(tmp_path / "keys", {u: "" for u in half})
    command = [
        *(sys.executable, "-m", "imlspike.espnet", "-W", "ignore", "-m", "espnet2.bin.asr_inference"),
        *("--asr_train_config", f"{tiny_experiment}/config.yaml"),
        *("--asr_model_file", f"{tiny_experiment}/valid.loss.ave.pth"),
        *("--data_path_and_name_and_type", f"{tiny_data}/wav.scp,speech,sound"),
        *("--key_file", f"{tmp_path}/keys", "--output_dir", f"{tmp_path}/out"),
        *("--ngpu", "0", "--nbest", "1", "--beam_size", "10", "--ctc_weight", "0.5"),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout == "", done.stdout + done.stderr
    assert sorted(read_kaldi(tmp_path / "out" / "1best_recog" / "text")) == half


def test_espnet_speech2text_decodes(tiny_experiment):
    """ESPnet's own Speech2Text builds the model from the experiment and returns text in the token list."""
    from espnet2.bin.asr_inference import Speech2Text

    register()
    config, model = tiny_experiment / "config.yaml", tiny_experiment / "1epoch.pth"
    recognise = Speech2Text(config, model, beam_size=2, ctc_weight=0.5, maxlenratio=0.5)
    text, tokens, _, _ = recognise(tone("ab").astype("float32"))[0]
    assert type(recognise.asr_model.encoder).__name__ == "SpikeformerEncoder"
    assert set(tokens) <= set(recognise.asr_model.token_list) and isinstance(text, str)


def test_a_training_ends_with_its_bundle(tiny_experiment, tmp_path):
    """The average of its best epochs, all arguments, where it comes from; a file that can be taken away."""
    assert {"bundle.yaml", "weights.safetensors", "tokens.txt"} <= {p.name for p in tiny_experiment.iterdir()}
    bundle, average = Bundle.load(tiny_experiment), read_experiment(tiny_experiment)
    assert bundle.states.keys() == average.states.keys() and bundle.tokens == average.tokens
    assert all(torch.equal(state, average.states[key]) for key, state in bundle.states.items())
    conf = bundle.config["model"]
    assert conf["encoder_conf"]["kappa"] == 0.45 and conf["decoder_conf"]["normalize_before"] is True
    assert {"command", "git", "versions", "seed"} <= bundle.origin.keys()
    first = Bundle.load(tiny_experiment, model_file="1epoch.pth")
    assert first.origin == bundle.origin
    bundle.save(tmp_path / "x.zip")
    speech2text = Speech2Text.from_pretrained(tmp_path / "x.zip", "joint", beam_size=2)
    assert isinstance(speech2text(tone("ab").astype("float32")), str)


def test_a_bundle_says_what_the_weights_were_trained_with(tiny_experiment, tmp_path):
    """Also where the YAML says nothing and defaults have changed since; where it says otherwise, an error."""
    from imlspike.models.record import RecordsArguments

    states, recorded = torch.load(tiny_experiment / "1epoch.pth", weights_only=True), RecordsArguments()
    recorded.record(threshold="token", kappa=0.6)
    torch.save(states | {"encoder._extra_state": recorded.get_extra_state()}, tmp_path / "1epoch.pth")
    config = yaml.safe_load((tiny_experiment / "config.yaml").read_text())
    for says in ({"normalize_before": True}, {"threshold": "fixed"}):
        config["encoder_conf"] |= says
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
        bundle = read_experiment(tmp_path)
        conf = bundle.config["model"]["encoder_conf"]
        assert conf["kappa"] == 0.6 and conf["threshold"] == says.get("threshold", "token")
        if says.get("threshold"):
            with pytest.raises(ConfigError, match="threshold"):
                Recognizer.from_bundle(bundle)
        else:
            Recognizer.from_bundle(bundle)


def test_espnetez_trains_it(tiny_data, tmp_path):
    """After `register()`, from a dictionary; a bundle ends it like any training."""
    ez = pytest.importorskip("espnetez", reason="espnetez needs the package six", exc_type=ImportError)
    register()
    config = ez.config.from_yaml("asr", tiny_data / "train.yaml")
    given = {"token_list": str(tiny_data / "tokens.txt"), "max_epoch": 1, "ngpu": 0, "num_workers": 0}
    names = {"speech": ["wav.scp", "sound"], "text": ["text", "text"]}
    folders = {"train_dump_dir": tiny_data, "valid_dump_dir": tiny_data, "stats_dir": str(tmp_path / "stats")}
    for part in ("train", "valid"):
        (tmp_path / "stats" / part).mkdir(parents=True)
        for kind in ("speech", "text"):
            content = (tiny_data / f"{kind}_shape").read_text()
            (tmp_path / "stats" / part / f"{kind}_shape").write_text(content)
    trainer = ez.Trainer("asr", config | given, str(tmp_path / "exp"), data_info=names, **folders)
    trainer.train()
    assert (tmp_path / "exp" / "1epoch.pth").is_file() and (tmp_path / "exp" / "bundle.yaml").is_file()


def test_weight_of_intermediate_ctc_without_it_is_refused(tiny_data, tmp_path):
    from espnet2.tasks.asr import ASRTask

    args = train_args(tiny_data, tmp_path, dry_run="true", model_conf="interctc_weight=0.3")
    with pytest.raises(ValueError, match="interctc_layer_idx"):
        ASRTask.main(cmd=args)


def test_a_batch_that_fails_is_named():
    """By its utterances, which ESPnet's trainer gives to the model."""
    from espnet.nets.pytorch_backend.transformer.subsampling import TooShortUttError

    from imlspike.espnet.worker import _build_reporting

    class Model(torch.nn.Module):
        def forward(self, speech, utt_id):
            raise TooShortUttError("has 1 frame", 1, 7)

    with pytest.raises(TooShortUttError) as caught:
        _build_reporting(lambda args: Model(), None)(speech=None, utt_id=["u1", "u2"])
    assert "u1, u2" in caught.value.__notes__[0]


def test_help_names_our_own_option(capsys):
    with pytest.raises(SystemExit):
        run_espnet("lm_train", ["--help"])
    assert "--num_processes" in capsys.readouterr().out


def test_config_is_printed():
    """And nothing else: ESPnet's import, which happens in `register`, prints too."""
    program = [sys.executable, "-m", "imlspike.espnet", "asr", "--encoder", "iml_spikeformer"]
    printed = subprocess.run([*program, "--print_config"], check=True, capture_output=True, text=True).stdout
    conf = yaml.safe_load(printed)
    assert conf["encoder"] == "iml_spikeformer" and conf["encoder_conf"]["threshold_value"] == 0.36


def test_spawned_workers_are_registered(tiny_data, tmp_path):
    """A process that ESPnet spawns only unpickles its target; what that runs builds our encoder."""
    register()
    from espnet2.tasks.asr import ASRTask, encoder_choices

    args = ASRTask.get_parser().parse_args(train_args(tiny_data, tmp_path / "exp", dry_run="true"))
    args.distributed = False
    target = pickle.dumps(ASRTask.main_worker)

    def spawned():
        del encoder_choices.classes["iml_spikeformer"], ASRTask.__mro__[1].main_worker
        pickle.loads(target)(args)

    process = torch.multiprocessing.get_context("fork").Process(target=spawned)
    process.start()
    process.join()
    assert process.exitcode == 0
    assert (tmp_path / "exp" / "config.yaml").exists()


def test_stand_in_runs_scripts_code_and_standard_input(tmp_path, monkeypatch):
    """They run as python would run them: sys.argv, sys.path[0] and __name__ are right."""
    (tmp_path / "neighbour.py").write_text("VALUE = 3\n")
    (tmp_path / "script.py").write_text(
        "import sys, neighbour\nassert __name__ == '__main__'\nsys.exit([neighbour.VALUE, *sys.argv[1:]])\n"
    )
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "stdin", io.StringIO("import sys; sys.exit(sys.argv)"))
    assert _exit_code([str(tmp_path / "script.py"), "a"]) == [3, "a"]
    assert _exit_code(["-c", "import sys; sys.exit(sys.argv)", "a"]) == ["-c", "a"]
    assert _exit_code(["-", "a"]) == ["-", "a"]


def _exit_code(program):
    with pytest.raises(SystemExit) as ended:
        stand_in.run(program)
    return ended.value.code
