import pytest
import torch
from torch import nn

from worldmodels.nn.blocks import (
    MLP,
    BlockLinear,
    LayerNorm,
    NormGRUCell,
    RMSNorm,
    initialise,
    rounded,
    truncated_normal_init,
    zero_init,
)


def layer_norm(x, norm):
    centred = x - x.mean(-1, keepdim=True)
    variance = centred.square().mean(-1, keepdim=True)
    return centred / (variance + norm.eps).sqrt() * norm.weight + norm.bias


def test_mlp_is_linear_norm_silu_then_a_plain_linear():
    torch.manual_seed(0)
    mlp = MLP(3, 2, hidden=5, layers=2).double()
    x = torch.randn(4, 6, 3, dtype=torch.float64)
    hidden = x
    for linear, norm, _ in mlp.hidden:
        hidden = layer_norm(hidden @ linear.weight.T + linear.bias, norm)
        hidden = hidden / (1 + torch.exp(-hidden))
    expected = hidden @ mlp.output.weight.T + mlp.output.bias
    torch.testing.assert_close(mlp(x), expected)


def test_mlp_without_hidden_layers_is_one_matrix():
    mlp = MLP(3, 2, layers=0)
    x = torch.randn(4, 3)
    assert sum(p.numel() for p in mlp.parameters()) == 3 * 2 + 2
    torch.testing.assert_close(mlp(x), x @ mlp.output.weight.T + mlp.output.bias)


def test_gru_cell_follows_the_dreamer_formula():
    torch.manual_seed(1)
    cell = NormGRUCell(3, 4).double()
    nn.init.normal_(cell.norm.weight)
    nn.init.normal_(cell.norm.bias)
    x, hidden = torch.randn(5, 3).double(), torch.randn(5, 4).double()
    joined = torch.cat([x, hidden], -1)
    matrix = torch.cat([cell.from_input.weight, cell.from_hidden.weight], -1)
    gates = layer_norm(joined @ matrix.T, cell.norm)
    reset = 1 / (1 + torch.exp(-gates[:, :4]))
    candidate = torch.tanh(reset * gates[:, 4:8])
    update = 1 / (1 + torch.exp(-(gates[:, 8:] - 1)))
    expected = update * candidate + (1 - update) * hidden
    torch.testing.assert_close(cell(cell.project(x), hidden), expected)


def test_projecting_all_steps_at_once_equals_projecting_each():
    cell = NormGRUCell(3, 4)
    x = torch.randn(5, 7, 3)
    for t in range(7):
        torch.testing.assert_close(cell.project(x)[:, t], cell.project(x[:, t]))


def test_gru_cell_keeps_its_state_in_float32_under_autocast():
    cell = NormGRUCell(3, 4)
    x, hidden = torch.randn(5, 3), torch.randn(5, 4)
    expected = cell(cell.project(x), hidden)
    with torch.autocast("cpu", torch.bfloat16):
        result = cell(cell.project(x), hidden)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, expected, rtol=0, atol=0.03)


def test_layer_norm_works_in_the_precision_of_its_weights():
    torch.manual_seed(0)
    norm, x = LayerNorm(6), torch.randn(4, 6).bfloat16()
    nn.init.normal_(norm.weight)
    with torch.autocast("cpu", torch.bfloat16):
        result = norm(x)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, layer_norm(x.float(), norm))


def test_rounded_is_what_autocast_makes_of_a_factor():
    x, identity = torch.tensor([[1 / 3]]), torch.ones(1, 1)
    assert rounded(x) is x
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(rounded(x), x @ identity)
        assert rounded(x).dtype == torch.bfloat16


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float64, 1e-15), (torch.float32, 5e-7)])
def test_gru_cell_moves_alike_without_gradients(dtype, atol):
    torch.manual_seed(1)
    cell = NormGRUCell(3, 4).to(dtype)
    projected, hidden = 8 * torch.randn(50, 12, dtype=dtype), torch.randn(50, 4, dtype=dtype)
    given = projected.clone(), hidden.clone()
    expected = cell(projected, hidden)
    assert expected.requires_grad
    with torch.no_grad():
        torch.testing.assert_close(cell(projected, hidden), expected, rtol=0, atol=atol)
    # What the caller handed over is not what was worked on in place.
    assert torch.equal(projected, given[0])
    assert torch.equal(hidden, given[1])


def test_truncated_normal_has_variance_one_over_fan_in_and_no_tail():
    torch.manual_seed(0)
    weight = torch.empty(400, 500)
    truncated_normal_init(weight, 25)
    assert abs(weight.std().item() - 0.2) < 0.002
    assert weight.abs().max().item() <= 2 * 0.2 / 0.8796 + 1e-4


def test_fan_in_counts_the_inputs_of_one_output():
    torch.manual_seed(0)
    layers = nn.ModuleDict(
        {
            "linear": nn.Linear(100, 400),
            "conv": nn.Conv2d(25, 400, 2),
            # stride 2 leaves 4 of the 16 taps for each output pixel
            "transposed": nn.ConvTranspose2d(25, 400, 4, stride=2),
        }
    )
    initialise(layers)
    for layer in layers.values():
        assert abs(layer.weight.std().item() - 0.1) < 0.002
        assert layer.bias.abs().max() == 0


def test_zero_init_answers_zero():
    layer = nn.Linear(3, 2)
    zero_init(layer)
    assert layer(torch.randn(4, 3)).abs().max() == 0


def rms_norm(x, norm):
    return x / (x.square().mean(-1, keepdim=True) + 1e-4).sqrt() * norm.weight


def test_rms_norm_divides_by_the_root_mean_square_and_has_no_shift():
    norm = RMSNorm(2).double()
    nn.init.constant_(norm.weight, 3.0)
    x = torch.tensor([[3.0, 4.0], [0.0, 0.01]], dtype=torch.float64)
    # Mean squares 12.5 and 0.00005; eps 0.0001 counts in the second.
    expected = 3 * x / torch.tensor([[12.5001], [0.00015]], dtype=torch.float64).sqrt()
    torch.testing.assert_close(norm(x), expected)
    assert [name for name, _ in norm.named_parameters()] == ["weight"]


def test_rms_norm_works_in_the_precision_of_its_weights():
    torch.manual_seed(0)
    norm, x = RMSNorm(6), torch.randn(4, 6).bfloat16()
    nn.init.normal_(norm.weight)
    with torch.autocast("cpu", torch.bfloat16):
        result = norm(x)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, rms_norm(x.float(), norm))


def test_mlp_takes_a_norm_and_a_scale_of_its_last_layer():
    torch.manual_seed(0)
    mlp = MLP(3, 2, hidden=5, layers=1, norm=RMSNorm).double()
    x = torch.randn(4, 3, dtype=torch.float64)
    linear, norm, _ = mlp.hidden[0]
    hidden = rms_norm(x @ linear.weight.T + linear.bias, norm)
    expected = hidden / (1 + torch.exp(-hidden)) @ mlp.output.weight.T + mlp.output.bias
    torch.testing.assert_close(mlp(x), expected)
    scaled = []
    for outscale in (1.0, 0.01, 0.0):
        torch.manual_seed(0)
        scaled.append(MLP(3, 2, hidden=5, outscale=outscale).output.weight)
    torch.testing.assert_close(scaled[1], 0.01 * scaled[0])
    assert (scaled[2] == 0).all()


@pytest.mark.parametrize("leading", [(), (5,), (2, 3)])
def test_block_linear_is_a_block_diagonal_matrix(leading):
    torch.manual_seed(0)
    layer = BlockLinear(6, 9, groups=3).double()
    nn.init.normal_(layer.bias)
    x = torch.randn(*leading, 6, dtype=torch.float64)
    matrix = torch.zeros(6, 9, dtype=torch.float64)
    for group in range(3):
        for i in range(2):
            for o in range(3):
                matrix[2 * group + i, 3 * group + o] = layer.weight[group, i, o]
    torch.testing.assert_close(layer(x), x @ matrix + layer.bias)
    assert layer.weight.is_contiguous()
    assert layer.weight.shape == (3, 2, 3)


def test_block_linear_counts_the_inputs_of_all_groups():
    torch.manual_seed(0)
    layer = BlockLinear(400, 4000, groups=4)
    assert abs(layer.weight.std().item() - 1 / 20) < 2e-4
    assert layer.weight.abs().max().item() <= 2 / 20 / 0.8796 + 1e-6
    assert (layer.bias == 0).all()


def test_block_linear_refuses_sizes_that_do_not_divide():
    with pytest.raises(ValueError, match="groups=4 must divide both in_dim=6 and out_dim=8"):
        BlockLinear(6, 8, groups=4)
