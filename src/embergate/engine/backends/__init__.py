"""Where a forward pass runs: OpenVINO on the CPU, torch as an extra, and a fake for tests of everything above."""
