"""Tells twistd that there is pushyd, without importing it."""

from twisted.application.service import ServiceMaker

pushyd = ServiceMaker("pushyd", "pushyd.tap", "Push server: runs jobs on the nodes of a fleet, now.", "pushyd")
