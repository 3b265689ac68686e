"""The words, names and sentence patterns of the sample corpus."""

LETTERS = "A B C D E F G H I K L M N O P R S T U V W"
MIDDLES = """a ab ad ag al am an ar av e eb ed el em en er et ev i ib id il im in
    o ob od ol om on or ov u ud ul um un ur us"""
# The parts of coined names. A name is any part of the first list, then any part of the second list,
# and then any part of the third list.
NAMES = {
    "family": (
        """Abram Anders Bergl Carls Dimit Eriks Fisch Fried Gust Hend Ivan Jans Kasp Kuzn Lars
        Matth Mikh Novak Olss Peders Petr Rodr Sand Schr Sim Stef Svens Thom Vasil Wern""",
        MIDDLES,
        "son sen ova vich ski nez ini man berg",
    ),
    "coined_town": (
        """Alder Ash Birk Black Bright Bruns Castle Clear Dun East Elm Fair Glen Green Harbor High
        Kings Lake Lower Mill Nether Oak Port Red River Spring Stone Upper West White""",
        MIDDLES,
        "burg shire ville stan mouth ham ton field",
    ),
    "brand": (
        """Aero Agri Auto Bio Cyber Data Digi Dyna Eco Electro Euro Fin Gen Giga Hydro Info Inter
        Med Micro Nano Net Omni Opti Petro Pharma Quant Robo Solar Tele Trans Uni""",
        MIDDLES,
        "corp tech soft bank tel com gas",
    ),
    "people": (
        "Arv Bosk Cast Drov Esk Frav Gorl Hesk Ilv Jurm Krov Lusk Morv Nisk Ostr Prusk Rusk Slov",
        MIDDLES,
        "nian nese nish",
    ),
    "acronym": (LETTERS, LETTERS, LETTERS),
    # These names are also ordinary words, or names of several types.
    "trade": (
        """Baker Banks Bishop Brooks Carpenter Cook Field Fisher Hill King Marsh Miller Page Pope
        Price Rose Stone Taylor Waters Woods Young May Judge""",
    ),
    "household": (
        """Apple Orange Target Visa Gap Frontier Summit Pioneer Beacon Horizon Eagle Shell Oracle
        Delta Compass Amazon Crown Falcon Anchor Sprint""",
    ),
    "famous": (
        """Austin Carolina Chelsea Chester Florence Georgia Hamilton Houston Jordan Lancaster
        Lincoln Madison Paris Salvador Santiago Sydney Victoria Virginia Washington""",
    ),
}
# All splits share these words: given names, which never stand alone, and ordinary words.
WORDS = {
    "first": """Alice Anna Boris Carla Clara David Diana Elena Emma Eric Felix Greta Hannah Hugo
        Igor Irene Jack James Jane Julia Karen Kevin Laura Leo Linda Lucas Maria Martin Mary Nina
        Oscar Paul Peter Rita Robert Sara Simon Sofia Thomas Vera Victor""",
    "initial": LETTERS,
    "title": "Mr. Mrs. Ms. Dr. Sen. Gov. Gen.",
    "role": """minister spokesman spokeswoman lawyer coach director manager analyst officer captain
        banker economist president chairman judge baker bishop carpenter cook miller""",
    "roles": "ministers lawyers managers analysts officials workers traders voters bankers",
    "adj": """new former senior local big small major final early likely foreign public private
        open annual key strong weak late young special recent close""",
    "thing": """plan deal report offer record market budget project contract court price target
        strike vote tax trade field summit apple crown page bridge review order visit""",
    "things": """plans deals reports offers records markets prices costs talks shares sales profits
        taxes jobs rules results orders banks woods reviews visits""",
    "money": "shares prices sales profits exports costs",
    "verb": """report offer record order review visit attack support back open sign reject
        block check test follow demand defend suspend extend protect target""",
    "said": "said announced claimed admitted warned added",
    "won": "won lost arrived resigned waited failed returned",
    "moved": "rose fell gained lost slipped jumped climbed",
    "beat": "beat defeated faced met held",
    "modal": "will would may could should might must can",
    "sub": "after because if while although before as since",
    "prep": "in on for with about under against from over",
    "manner": "sharply slowly quickly again early late close well",
    "also": "also now still already never",
    "opener": "however meanwhile still now earlier later",
    "day": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "month": "January March April May June July August October December",
    "digit": "1 2 3 4 5 6 7 8 9",
    "sport": "tennis soccer golf cycling cricket rugby",
    "few": "two three four five ten",
    "unit": "years days months hours weeks",
}
RULES = {
    "sentence": """
        16x <clause> ./.
        12x <clause> <when> ./.
        3x ``/`` <clause> ,/, ''/'' <speaker> ./.
        3x <clause> ,/, <speaker> ./.
        2x [ADVP <opener>/RB ] ,/, <clause> ./.
        2x <clause> <when> ,/, [SBAR <sub>/IN ] <clause> ./.
        <clause> ,/, and/CC <clause> ,/, but/CC <clause> <when> ./.
        [NP <LOC> ] [NP <month>/NNP <digit>/CD ] --/: <clause> ./.
        [NP <digit>/CD ] ./. [NP <PER> ] (/( [NP <LOC> ] )/) [NP <digit><digit>.<digit>/CD ]
        [NP <name> ] [VP <won>/VBD ] ./.""",
    "headline": """
        2x [NP <PER> ] [VP <verb>s/VBZ ] [NP <thing>/NN ] [PP in/IN ] [NP <LOC> ]
        2x [NP <ORG> ] [VP <verb>s/VBZ ] [NP <adj>/JJ <things>/NNS ]
        [NP <sport>/NN ] -/: [NP <PER> ] [VP <won>/VBD ] [PP in/IN ] [NP <LOC> ]
        [NP <ORG> ] [NP <digit>/CD ] [NP <ORG> ] [NP <digit>/CD ]
        [NP <PEOPLE> <money>/NNS ] [VP <moved>/VBD ] [PP in/IN ] [NP <month>/NNP ]""",
    "clause": """
        12x <who> <act>
        9x <body> <act>
        2x <who> [VP <said>/VBD ] [SBAR that/IN ] <clause>
        [NP <name> ] <act>
        [NP <club> ] [VP <beat>/VBD ] [NP <club> ] [NP <digit>-<digit>/CD ]
        2x [NP <PER> ] [VP <beat>/VBD ] [NP <PER> ] [PP in/IN ] [NP the/DT <EVENT> ]
        2x <market> [VP <moved>/VBD ] <amount>
        [NP the/DT <thing>/NN ] [VP was/VBD <verb>ed/VBN ] [PP by/IN ] [NP <name> ]
        [NP there/EX ] [VP were/VBD ] [NP no/DT <things>/NNS ] [PP in/IN ] [NP <LOC> ]
        [NP they/PRP ] [VP <verb>/VBP ] <object>
        [NP <ORG> and/CC <ORG> ] [VP <verb>ed/VBD ] <object>""",
    "who": """
        6x [NP <PER> ]
        4x [NP <title>/NNP {PER <surname>/NNP } ]
        2x [NP the/DT <role>/NN ] ,/, [NP <PER> ] ,/,
        [NP <ORG> <role>/NN <PER> ]
        2x [NP the/DT <PEOPLE> <role>/NN <PER> ]
        2x [NP the/DT <adj>/JJ <role>/NN ]
        [NP <PER> ] ,/, [NP the/DT <role>/NN ] [PP of/IN ] [NP <ORG> ] ,/,
        [NP <PER> ] ,/, [NP who/WP ] [VP <verb>ed/VBD ] <object> [PP in/IN ] [NP <year>/CD ] ,/,
        [NP she/PRP ]
        [NP he/PRP ]""",
    "body": """
        6x [NP <ORG> ]
        [NP <LOC> ] [NP 's/POS <adj>/JJ <role>/NN ]
        2x [NP the/DT company/NN ]
        [NP <ORG> ] ,/, [VP based/VBN ] [PP in/IN ] [NP <LOC> ] ,/,
        [NP the/DT <PEOPLE> company/NN <ORG> ]
        [NP <roles>/NNS ] [PP from/IN ] [NP <LOC> ]""",
    "act": """
        12x [VP <verb>ed/VBD ] <object>
        3x [VP <verb>ed/VBD ] <object> [PP <prep>/IN ] <object>
        3x [VP <won>/VBD ] [ADVP <manner>/RB ]
        2x [VP <modal>/MD <verb>/VB ] <object>
        2x [VP <modal>/MD not/RB <verb>/VB ] <object>
        2x [VP had/VBD <also>/RB <verb>ed/VBN ] <object>
        [VP planned/VBD to/TO <verb>/VB ] <object>
        [VP set/VBD ] [PRT up/RP ] <object>
        [VP was/VBD ] [ADJP very/RB <adj>/JJ ]
        [VP was/VBD ] [ADJP ready/JJ ] [VP to/TO <verb>/VB ] <object>
        2x [VP met/VBD ] [NP <PER> ] [PP in/IN ] [NP <LOC> ]""",
    "object": """
        6x [NP the/DT <thing>/NN ]
        6x [NP a/DT <adj>/JJ <thing>/NN ]
        3x [NP the/DT <adj>/JJ <things>/NNS ]
        2x [NP <things>/NNS ]
        [NP its/PRP$ <thing>/NN <things>/NNS ]
        2x [NP her/PRP$ <thing>/NN ]
        2x [NP <ORG> ] [NP 's/POS <thing>/NN ]
        [NP <name> ]
        3x [NP the/DT <PEOPLE> <things>/NNS ]
        [NP <things>/NNS and/CC <things>/NNS ]
        [NP <things>/NNS ] and/CC [NP <things>/NNS ]
        [NP more/JJR than/IN <few>/CD <things>/NNS ]
        [NP that/DT <thing>/NN ]
        [NP the/DT <thing>/NN ] [NP that/WDT ] [VP <verb>ed/VBD ] [NP <name> ]
        [NP the/DT <thing>/NN ] [VP <verb>ed/VBN ] [PP by/IN ] [NP <name> ]
        [NP the/DT <thing>/NN ] [PP between/IN ] [NP <LOC> and/CC <LOC> ]
        [NP $/$ <digit>.<digit>/CD million/CD ]""",
    "market": """
        [NP <money>/NNS ] [PP in/IN ] [NP <LOC> ]
        [NP <money>/NNS ] [PP of/IN ] [NP <ORG> ]
        [NP <ORG> ] [NP 's/POS <money>/NNS ]
        [NP <PEOPLE> <money>/NNS ]
        [NP <ORG> ]""",
    "amount": """
        [NP <digit>.<digit>/CD percent/NN ]
        [NP <digit>/CD points/NNS ] [PP to/TO ] [NP <digit><digit>.<digit>/CD ]""",
    "when": """
        3x [PP on/IN ] [NP <day>/NNP ]
        2x [NP <day>/NNP ]
        2x [NP yesterday/NN ]
        2x [PP in/IN ] [NP <month>/NNP ]
        3x [PP in/IN ] [NP <LOC> ]
        [PP in/IN ] [NP <LOC> ] [PP in/IN ] [NP <year>/CD ]
        [PP at/IN ] [NP the/DT <EVENT> ]
        [PP after/IN ] [NP the/DT <thing>/NN ]
        [PP with/IN ] [NP <PER> ]
        [ADVP <few>/CD <unit>/NNS ago/RB ]
        [ADVP early/RB ] [NP <day>/NNP ]""",
    "speaker": """
        2x <who> [VP <said>/VBD ]
        2x [VP said/VBD ] [NP <PER> ] [PP of/IN ] [NP <ORG> ]
        [VP said/VBD ] [NP <PER> ]
        <body> [VP said/VBD ] [PP in/IN ] [NP a/DT report/NN ]""",
    "year": """
        19<digit><digit>
        200<digit>""",
    "PER": "{PER <person> }",
    "ORG": "{ORG <company> }",
    "LOC": "{LOC <place> }",
    "EVENT": "{MISC <event> }",
    "PEOPLE": "{MISC <people>/JJ }",
    "name": """
        <PER>
        <ORG>
        <LOC>""",
    "person": """
        14x <first>/NNP <surname>/NNP
        2x <first>/NNP <initial>./NNP <surname>/NNP
        <surname>/NNP""",
    "surname": """
        40x <family>
        <trade>
        <famous>""",
    "place": """
        20x <town>/NNP
        <town>/NNP City/NNP""",
    "town": """
        60x <coined_town>
        <famous>""",
    "club": """
        6x {ORG <town>/NNP United/NNP }
        {ORG <town>/NNP }""",
    "company": """
        40x <brand>/NNP
        <household>/NNP
        <acronym>/NNP
        2x <brand>/NNP Inc./NNP
        <family>/NNP &/CC Sons/NNPS
        Bank/NNP of/IN <town>/NNP""",
    "event": """
        <town>/NNP Open/NNP
        <brand>/NNP Cup/NNP""",
}
