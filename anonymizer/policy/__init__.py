"""What happens to each face: rules, zones, schedules, recognition, and the decision. Pure.

policy = Policy(load(text, "rules.yaml"), camera="gate")
verdict = policy.decide(frame)      # sets face.action and face.rule; verdict.faces runs parallel to frame.faces
"""

from anonymizer.policy.actions import Action, Scope, Treatment
from anonymizer.policy.decision import Decision, FaceFacts, Picture, Verdict
from anonymizer.policy.policy import Policy
from anonymizer.policy.recognition import Recognition
from anonymizer.policy.rules import RuleSet, load

__all__ = [
    "Action",
    "Decision",
    "FaceFacts",
    "Picture",
    "Policy",
    "Recognition",
    "RuleSet",
    "Scope",
    "Treatment",
    "Verdict",
    "load",
]
