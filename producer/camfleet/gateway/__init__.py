"""HTTP over the client: endpoints, tokens, events. It fetches and decodes no image itself."""
