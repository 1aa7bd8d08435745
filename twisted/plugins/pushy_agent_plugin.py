"""Makes `twistd pushy-agent` known; nothing of the agent is imported before it is asked for."""

from twisted.application.service import ServiceMaker

pushy_agent = ServiceMaker(
    "pushy-agent",
    "pushy_agent.tap",
    "The node daemon of pushy: runs what a push server asks for and the whitelist allows.",
    "pushy-agent",
)
