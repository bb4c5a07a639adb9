"""From a loaded spec to a plan in which every question is answered; renderers decide nothing."""
