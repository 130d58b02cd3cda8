"""Pages of the web: fetched from public hosts only, within limits; links, sitemaps and robots.txt."""
