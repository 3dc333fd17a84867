"""Pure picture and sound libraries shared by the draft engines, the composer and intake."""
