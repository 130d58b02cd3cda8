"""What the tools of an agent reach: databases, web servers, servers of other tools."""
