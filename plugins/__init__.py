"""The built-in plugins, one concept a file. They import only what `aaclip_kit` makes public."""
