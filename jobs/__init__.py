"""One file per command: a config, `run(config)`, a result. Nothing here prints."""
