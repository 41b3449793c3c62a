"""SUPIR (Yu et al. 2024): adaptor, connectors, restoration-guided sampling."""
