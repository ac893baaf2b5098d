"""What a plugin implements and what the engine promises in return. Plugins import these from `aaclip_kit`."""
