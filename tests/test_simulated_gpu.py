"""The simulated GPU refuses, counts and waits as a real one does."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from .simulated_gpu import GpuTensor, simulated_gpu


@pytest.fixture
def gpu():
    with torch.no_grad(), simulated_gpu() as gpu:
        yield gpu


@pytest.fixture
def numbers():
    return torch.rand(4, 6)


def test_pytorch_has_a_gpu_as_long_as_it_is_on():
    before = torch.cuda.is_available(), torch.cuda.Stream, torch.tensor, torch.Tensor.pin_memory
    with simulated_gpu():
        assert torch.cuda.is_available()
        assert torch.ones(2, device="cuda").device == torch.device("cuda:0")
    assert before == (torch.cuda.is_available(), torch.cuda.Stream, torch.tensor, torch.Tensor.pin_memory)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_it_computes_what_the_cpu_computes(gpu, mode, dtype):
    net = nn.Sequential(nn.Conv2d(3, 32, 3), nn.GroupNorm(4, 32), nn.SiLU(), nn.Flatten(2)).to(dtype).eval()
    x = torch.rand(2, 3, 8, 8, dtype=dtype)
    with mode():
        q = net(x)
        expected = F.scaled_dot_product_attention(q[:, None], q[:, None], q[:, None]).softmax(-1)
        net.to("cuda")
        q = net(x.to("cuda"))
        got = F.scaled_dot_product_attention(q[:, None], q[:, None], q[:, None]).softmax(-1)
        assert isinstance(got, GpuTensor)
        assert torch.equal(got.cpu(), expected)


@pytest.mark.parametrize(
    "mix",
    [
        lambda gpu, cpu: gpu + cpu,
        lambda gpu, cpu: torch.cat([gpu, cpu]),
        lambda gpu, cpu: F.linear(gpu, cpu),
        lambda gpu, cpu: F.scaled_dot_product_attention(gpu[None], cpu[None], cpu[None]),
        lambda gpu, cpu: cpu[gpu.argmax(1)],
        lambda gpu, cpu: torch.zeros(()).add_(gpu[0, 0]),
        lambda gpu, cpu: torch.randn(3, device="cuda", generator=torch.Generator()),
    ],
)
def test_tensors_of_two_devices_are_refused(gpu, numbers, mix):
    with pytest.raises(RuntimeError, match=r"same device|for generator"):
        mix(numbers.to("cuda"), numbers)


def test_single_numbers_and_indices_of_the_host_are_taken(gpu, numbers):
    on_gpu = numbers.to("cuda")
    assert torch.equal((on_gpu * torch.tensor(2.0)).cpu(), numbers * 2)
    before = gpu.uploads.total()
    assert torch.equal(on_gpu[torch.tensor([2, 0])].cpu(), numbers[[2, 0]])
    assert gpu.uploads.total() == before + 1


def test_copies_are_counted_up_and_down(gpu, numbers):
    there = numbers.to("cuda")
    assert (gpu.uploads.total(), gpu.bytes_up.total(), gpu.bytes_down.total(), gpu.waits.total()) == (1, 96, 0, 1)
    there.half().cpu()
    assert (gpu.uploads.total(), gpu.bytes_up.total(), gpu.bytes_down.total(), gpu.waits.total()) == (1, 96, 48, 2)
    torch.tensor([1.0, 2.0], device="cuda")
    assert (gpu.uploads.total(), gpu.bytes_up.total()) == (2, 104)
    assert all("test_copies_are_counted" in line for line in (*gpu.waits, *gpu.uploads))


@pytest.mark.parametrize(
    ("ask", "waits"),
    [
        (lambda x: x.sum().item(), 1),
        (lambda x: bool((x > 0).all()), 1),
        (lambda x: x.tolist(), 1),
        (lambda x: x[x > 0.5], 1),
        (lambda x: torch.cuda.synchronize(), 1),
        (lambda x: torch.cuda.current_stream().synchronize(), 1),
        (lambda x: torch.cuda.Event().synchronize(), 1),
        (lambda x: x.clone().masked_fill_(x > 0.5, 0.0), 0),
        (lambda x: (x[1:] @ x[0]).float().mean(), 0),
        (lambda x: torch.arange(9, device=x.device) * 2.0, 0),
    ],
)
def test_the_host_waits_for_what_it_has_to_know(gpu, numbers, ask, waits):
    on_gpu = numbers.to("cuda")
    before = gpu.waits.total()
    ask(on_gpu)
    assert gpu.waits.total() - before == waits


def test_pinned_memory_goes_up_without_waiting(gpu, numbers):
    pinned, buffer = numbers.pin_memory(), torch.empty(2, 3, pin_memory=True)
    assert pinned.is_pinned()
    assert pinned[1:].is_pinned()
    assert buffer.is_pinned()
    assert not numbers.is_pinned()
    there = pinned.to("cuda", non_blocking=True)
    assert (gpu.uploads.total(), gpu.waits.total()) == (1, 0)
    assert torch.equal(there.cpu(), numbers)
    before = gpu.waits.total()
    numbers.to("cuda", non_blocking=True)
    pinned.to("cuda")
    pinned[:, 1:3].to("cuda", non_blocking=True)  # goes through memory that is not pinned
    assert gpu.waits.total() - before == 3


def test_what_comes_down_without_waiting_is_there_after_the_next_wait(gpu, numbers):
    there = numbers.pin_memory().to("cuda", non_blocking=True)
    here = torch.empty(4, 6, pin_memory=True)
    with torch.cuda.stream(torch.cuda.Stream()):
        here.copy_(there, non_blocking=True)
        event = torch.cuda.current_stream().record_event()
    there.zero_()  # in the order of the stream
    assert gpu.waits.total() == 0
    assert gpu.bytes_down.total() == 96
    assert here.isnan().all()
    event.synchronize()
    assert torch.equal(here, numbers)
    assert there.to("cpu", non_blocking=True).is_pinned()


def test_memory_lasts_as_long_as_a_view_of_it(gpu):
    whole = torch.zeros(2**20, device="cuda")
    part = whole[:4].view(2, 2)
    assert gpu.now == gpu.peak == torch.cuda.memory_allocated() == 2**22
    del whole
    assert gpu.now == 2**22
    del part
    assert (gpu.now, gpu.peak) == (0, 2**22)


def test_full_memory_is_an_error_and_what_is_free_is_known(gpu):
    gpu.capacity = 2**22
    kept = torch.zeros(2**19, device="cuda")
    assert torch.cuda.mem_get_info() == (2**21, 24 * 2**30)
    with pytest.raises(torch.OutOfMemoryError, match="test_full_memory"):
        torch.zeros(2**20, device="cuda")
    assert kept.sum().item() == 0


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_modules_move_and_keep_their_parameters(gpu, mode):
    with mode():
        net = nn.Linear(16, 16)
        weight, host = net.weight, net.weight.data
        net.to("cuda")
        assert net.weight is weight
        assert net.weight.is_cuda
        assert gpu.now == 1024 + 512
        net.to("cpu")
        assert torch.equal(weight, host)
        weight.data = host.to("cuda")
        assert (weight.is_cuda, gpu.now) == (True, 1024)
        weight.data = host
        assert (weight.is_cuda, gpu.now) == (False, 0)


def test_networks_of_full_size_run_as_shapes():
    with torch.no_grad(), simulated_gpu(values=False) as gpu:
        net = nn.Conv2d(512, 512, 3, padding=1, dtype=torch.float16, device="cuda")
        x = torch.zeros((), dtype=torch.float16).expand(1, 512, 1024, 1024).to("cuda")
        y = net(x)
        assert y.shape == x.shape
        assert gpu.now == 2 * 2**30 + 512 * 512 * 9 * 2 + 1024
        assert y.cpu().pin_memory().shape == x.shape
        assert torch.linspace(0, 1, 5, device="cuda").tolist()[-1] == 1
        with pytest.raises(ValueError, match="without values"):
            y.mean().item()
