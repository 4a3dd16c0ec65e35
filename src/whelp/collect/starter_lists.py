"""Lists of article titles to begin with, of the English Wikipedia. They are our own choice: what a curious child asks about."""

from __future__ import annotations

STARTER_LISTS: dict[str, tuple[str, ...]] = {
    "nature": (
        *("Atom", "Bird", "Cell (biology)", "Climate", "Dinosaur", "Dog", "Earth", "Earthquake", "Ecosystem", "Electricity"),
        *("Evolution", "Fish", "Flower", "Forest", "Fungus", "Galaxy", "Gravity", "Heart", "Human brain", "Insect"),
        *("Light", "Magnetism", "Mammal", "Moon", "Mountain", "Ocean", "Oxygen", "Planet", "Rain", "Rainbow"),
        *("River", "Seed", "Sleep", "Solar System", "Sound", "Sun", "Tree", "Volcano", "Water", "Wolf"),
    ),
    "people": (
        *(
            "Ada Lovelace",
            "Albert Einstein",
            "Alan Turing",
            "Aristotle",
            "Avicenna",
            "Charles Darwin",
            "Cleopatra",
            "Confucius",
        ),
        *("Emmy Noether", "Frida Kahlo", "Galileo Galilei", "Genghis Khan", "Hypatia", "Ibn Battuta", "Isaac Newton"),
        *("Jane Austen", "Johann Sebastian Bach", "Johannes Kepler", "Leonardo da Vinci", "Mahatma Gandhi", "Marie Curie"),
        *("Michael Faraday", "Murasaki Shikibu", "Nelson Mandela", "Rosa Parks", "Socrates", "Srinivasa Ramanujan"),
        *("Wangari Maathai", "William Shakespeare", "Wolfgang Amadeus Mozart"),
    ),
    "inventions": (
        *("Airplane", "Bicycle", "Book", "Bridge", "Calendar", "Camera", "Clock", "Compass", "Computer", "Concrete"),
        *("Glass", "Internet", "Lens", "Map", "Microscope", "Money", "Paper", "Plough", "Printing press", "Radio"),
        *("Rocket", "Sail", "Ship", "Steam engine", "Telephone", "Telescope", "Train", "Vaccine", "Wheel", "Writing"),
    ),
    "places": (
        *("Africa", "Amazon River", "Andes", "Antarctica", "Asia", "Australia", "Baghdad", "Beijing", "Brazil", "Cairo"),
        *("Caribbean", "Constantinople", "Europe", "Ganges", "Great Barrier Reef", "Himalayas", "India", "Istanbul", "Japan"),
        *("Jerusalem", "Lake Baikal", "London", "Mediterranean Sea", "Mexico City", "Nile", "North America", "Pacific Ocean"),
        *("Rome", "Sahara", "Timbuktu"),
    ),
}
