"""Under ``torch.compile`` a guided call is one graph; the schedules do not make it anew at each step."""

import torch

from supir_core.command.demo import load_demo_model
from supir_core.restoration.denoiser import LinearSchedule
from supir_core.supir.denoiser import GuidedDenoiser

from .test_gpu import SMALL


def test_a_guided_call_is_one_graph_with_the_same_result(demo_model):
    graphs = []

    def eager(graph, _):
        graphs.append(graph)
        return graph.forward

    positive, negative = demo_model.encode_texts(["a boat", "blurred"])
    cfg, control = LinearSchedule(3.0, 6.0), LinearSchedule(1.0, 0.9)
    z_lq = torch.randn(1, 4, *SMALL)
    denoiser = GuidedDenoiser(demo_model.unet, demo_model.adaptor, z_lq, [positive], negative, cfg, control)
    torch.compiler.reset()
    with torch.no_grad():
        compiled = torch.compile(denoiser.__call__, backend=eager, fullgraph=True)
        for sigma in (14.0, 9.0, 4.0, 1.0):
            given = torch.randn_like(z_lq), torch.tensor([sigma]), sigma
            assert torch.equal(compiled(*given), denoiser(*given))
    assert len(graphs) <= 2  # the first strength, then any


def test_the_model_compiles_its_networks(monkeypatch):
    compiled = []
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda module, **given: compiled.append((type(module).__name__, given))
    )
    load_demo_model().compile()
    assert compiled == [("UNet", {"fullgraph": True}), ("Adaptor", {"fullgraph": True})]
