"""Who answers calls."""
