"""What goes in the end, and when: deleted and expired campaigns, and objects that nothing names."""
