"""`/openai/v1`: what a client of OpenAI's API expects, translated to bots, turns and documents."""
