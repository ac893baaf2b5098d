"""A trained model as a web service: what is asked of it, how it is limited, and a page to drop photographs on."""
