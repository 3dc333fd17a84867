"""Pure picture, sound and script libraries shared by engines, the composer and intake."""
