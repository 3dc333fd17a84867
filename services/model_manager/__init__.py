"""Who may be resident in a device's memory, who runs, and who must leave."""
