"""Operations that the architectures share, as pieces of an OpenVINO graph."""
