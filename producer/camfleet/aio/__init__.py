"""The client for programs that run on asyncio: the same verbs, awaited."""
