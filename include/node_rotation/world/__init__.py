"""The world as a rotation sees it: observations as frozen values, and the clients as protocols."""
