"""What models cost, where an operator says otherwise than their size."""
