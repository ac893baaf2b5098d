"""Archives that are fetched when a user asks for them: broken downloads go on, and unpacking stays in its folder."""
