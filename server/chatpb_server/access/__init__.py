"""Who may call: addresses, TLS, tokens, secrets."""
