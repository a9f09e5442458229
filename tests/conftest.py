"""One thread for every test: small tensors gain nothing from more, and busy machines lose."""

import torch

torch.set_num_threads(1)
