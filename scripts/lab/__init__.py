"""What only this project needs: experiments, speed cases, cards, attacks. Never part of the package."""
